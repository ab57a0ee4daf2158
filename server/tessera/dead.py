"""`tessera dead`: what became of requests that must not run again."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import orjson
import redis.asyncio as aioredis
import typer
from rich.console import Console
from rich.table import Table

from tessera.flags import RedisUrl, refusal, with_redis
from tessera.queue import Broker, DeadLetter, DeadLetters, Directory
from tessera.settings import Settings

_T = TypeVar("_T")

app = typer.Typer(help="Requests that were set aside since workers died under them.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(help="Job id, as `tessera dead list` and the logs tell it.")]
Model = Annotated[str | None, typer.Option(help="Only of this model; without it, of all models that were served.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True, slots=True)
class _Desk:
    """What a command works with."""

    broker: Broker
    letters: DeadLetters
    models: list[str]

    async def all(self) -> list[DeadLetter]:
        found = [letter for model in self.models for letter in await self.letters.of(model)]
        return sorted(found, key=lambda letter: -letter.dead_ms)

    async def find(self, job_id: str) -> DeadLetter:
        for letter in await self.all():
            if letter.job_id == job_id:
                return letter
        known = ", ".join(f"`{model}`" for model in self.models) or "no model at all"
        raise refusal(
            f"There is no dead letter `{job_id}` of {known}. `tessera dead list` tells which there are.", code=1
        )


@app.command("list")
def list_letters(model: Model = None, redis_url: RedisUrl = None, as_json: AsJson = False) -> None:
    """List them, the newest first."""
    found = _at_desk(model, redis_url, _Desk.all)
    if as_json:
        _print_json([_described(letter) for letter in found])
        return
    titles = ("set aside", "id", "model", "reason", "workers that died", "bytes")
    rows = [(_time(d.dead_ms), d.job_id, d.model, d.reason, str(len(d.deaths)), str(d.body_bytes)) for d in found]
    _print_table(titles, rows)


@app.command()
def show(
    job_id: Id,
    model: Model = None,
    redis_url: RedisUrl = None,
    as_json: AsJson = False,
    body: Annotated[bool, typer.Option("--body", help="Print the request's body, and nothing else.")] = False,
) -> None:
    """Show one: what it was, and which workers died under it, when."""

    async def look(desk: _Desk) -> tuple[DeadLetter, bytes | None]:
        letter = await desk.find(job_id)
        return letter, await desk.letters.body(letter) if body else None

    letter, content = _at_desk(model, redis_url, look)
    if body:
        if content is None:
            raise _not_kept(letter)
        sys.stdout.buffer.write(content + b"\n")
    elif as_json:
        _print_json(_described(letter))
    else:
        told = {name.replace("_", " "): str(value) for name, value in _described(letter).items() if name != "deaths"}
        told |= {f"death {n}": f"{_time(d.at_ms)} {d.worker} ({d.how})" for n, d in enumerate(letter.deaths, 1)}
        _print_table(("", ""), list(told.items()))


@app.command()
def retry(job_id: Id, model: Model = None, redis_url: RedisUrl = None) -> None:
    """Run one again, as a new job of which no worker has died; any gateway tells its answer."""

    async def enqueue(desk: _Desk) -> str:
        letter = await desk.find(job_id)
        try:
            job = await desk.letters.job(letter)
        except (KeyError, TypeError, ValueError):
            raise refusal(f"The record of {job_id} is damaged, so it cannot be run again.", code=1) from None
        if job is None:
            raise _not_kept(letter)
        # Of no gateway: nobody is told of its answer but who asks for it.
        await desk.broker.enqueue(job, reply_to="", lasting=True)
        await desk.letters.drop(letter)
        return job.id

    queued = _at_desk(model, redis_url, enqueue)
    typer.echo(f"Queued again as {queued}: its answer is at /v1/requests/{queued}/events of any gateway.")


@app.command()
def drop(job_id: Id, model: Model = None, redis_url: RedisUrl = None) -> None:
    """Forget one."""

    async def forget(desk: _Desk) -> None:
        await desk.letters.drop(await desk.find(job_id))

    _at_desk(model, redis_url, forget)
    typer.echo(f"Dropped {job_id}.")


def _at_desk(model: str | None, redis_url: str | None, work: Callable[[_Desk], Awaitable[_T]]) -> _T:
    async def begin(redis: aioredis.Redis, settings: Settings) -> _T:
        broker = Broker(redis, settings)
        served = await Directory(redis, broker.keys).models() if model is None else []
        models = [model] if model is not None else [served_model.card.model for served_model in served]
        return await work(_Desk(broker, DeadLetters(redis, broker.keys), models))

    return with_redis(redis_url, "dead-letters", begin)


def _not_kept(letter: DeadLetter) -> typer.Exit:
    return refusal(
        f"The body of {letter.job_id} was not kept: it has {letter.body_bytes} bytes (TESSERA_MAX_DEAD_BYTES).",
        code=1,
    )


def _described(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.job_id,
        "model": letter.model,
        "reason": letter.reason,
        "set_aside_at": _time(letter.dead_ms),
        "enqueued_at": _time(letter.enqueued_ms),
        "path": letter.path,
        "sequences": letter.sequences,
        "body_bytes": letter.body_bytes,
        "deaths": [{"at": _time(d.at_ms), "worker": d.worker, "how": d.how} for d in letter.deaths],
    }


def _time(unix_ms: int) -> str:
    return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(timespec="seconds")


def _print_json(content: Any) -> None:
    typer.echo(orjson.dumps(content, option=orjson.OPT_INDENT_2).decode())


def _print_table(titles: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    console = Console()
    if not console.is_terminal:
        # For programs: whole, whatever the width.
        for row in rows:
            typer.echo("\t".join(row))
        return
    table = Table(*titles, show_header=any(titles), box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    console.print(table)
