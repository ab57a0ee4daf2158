"""`tessera alias`: what other names of models stand for, while everything runs."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import orjson
import redis.asyncio as aioredis
import typer

from tessera.flags import RedisUrl, refusal, with_redis
from tessera.gateway.alias_check import check_name, check_targets
from tessera.gateway.catalogue import Catalogue
from tessera.queue import Alias, Aliases, AliasesFull, Directory
from tessera.queue.keys import Keys
from tessera.settings import Settings

_T = TypeVar("_T")

app = typer.Typer(help="Other names of models, which all gateways follow within a second.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The name that clients ask for.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_aliases(redis_url: RedisUrl = None, as_json: AsJson = False) -> None:
    """List those that were set while the server runs; TESSERA_ALIASES is each gateway's own."""
    found = _with_redis(redis_url, lambda aliases, _catalogue, _settings: aliases.all())
    if as_json:
        told = [{"id": a.name, "targets": a.targets, "changed_at": a.changed_s} for _, a in sorted(found.items())]
        typer.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2).decode())
        return
    for name, alias in sorted(found.items()):
        at = datetime.fromtimestamp(alias.changed_s, UTC).isoformat(timespec="seconds")
        typer.echo(f"{name}\t{_told(alias.targets)}\t{at}")


@app.command("set")
def set_alias(
    name: Name,
    targets: Annotated[
        list[str],
        typer.Argument(help="Models or adapters, each with its weight: `big-v1=90 big-v2=10`; without one: 1."),
    ],
    redis_url: RedisUrl = None,
) -> None:
    """Have a name stand for models or adapters that are served, whatever it stood for. What is queued stays there."""
    weights = dict(_weight(target) for target in targets)
    if len(weights) < len(targets):
        raise refusal("A target stands twice.")

    async def put(aliases: Aliases, catalogue: Catalogue, settings: Settings) -> None:
        check_name(name)
        await catalogue.refresh()
        checked = check_targets(catalogue, name, weights)
        try:
            await aliases.put(Alias(name, checked, int(time.time())), most=settings.max_aliases)
        except AliasesFull:
            raise refusal(
                f"There are as many aliases as there may be, {settings.max_aliases} (TESSERA_MAX_ALIASES).", code=1
            ) from None

    _with_redis(redis_url, put)
    typer.echo(f"{name}: {_told(weights)}")


@app.command()
def remove(name: Name, redis_url: RedisUrl = None) -> None:
    """Forget one; what TESSERA_ALIASES says of its name counts again."""

    async def forget(aliases: Aliases, _catalogue: Catalogue, _settings: Settings) -> None:
        if name not in await aliases.all():
            raise refusal(f"There is no alias `{name}`. `tessera alias list` tells which there are.", code=1)
        await aliases.remove(name)

    _with_redis(redis_url, forget)
    typer.echo(f"Removed {name}.")


def _with_redis(redis_url: str | None, work: Callable[[Aliases, Catalogue, Settings], Awaitable[_T]]) -> _T:
    def begin(redis: aioredis.Redis, settings: Settings) -> Awaitable[_T]:
        keys = Keys(settings.redis_prefix)
        aliases = Aliases(redis, keys)
        return work(aliases, Catalogue(Directory(redis, keys), aliases, settings), settings)

    return with_redis(redis_url, "alias", begin)


def _weight(target: str) -> tuple[str, int]:
    # A model's name may have the sign, too.
    name, sign, weight = target.rpartition("=")
    if not sign:
        return target, 1
    if not name or not (weight.isascii() and weight.isdecimal()):
        raise refusal(f"{target!r} is not `model=weight`, with a whole number.")
    return name, int(weight)


def _told(targets: dict[str, int]) -> str:
    return " ".join(f"{name}={weight}" for name, weight in targets.items())
