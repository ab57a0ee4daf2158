"""`tessera explain`: what became of one request."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import orjson
import redis.asyncio as aioredis
import typer

from tessera.flags import RedisUrl, refusal, with_redis
from tessera.queue import Directory, Explanation, Explanations, spellings_of
from tessera.queue.keys import Keys
from tessera.settings import Settings


def explain(
    request_id: Annotated[
        str, typer.Argument(help="As in `X-Tessera-Request-Id`, in the `id` of an answer, or as `job` in the log.")
    ],
    model: Annotated[str | None, typer.Option(help="Its model; without it, all that were served are asked.")] = None,
    redis_url: RedisUrl = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell what became of a request: every state with its time and worker, its media, tokens and errors."""
    found = with_redis(redis_url, "explain", lambda redis, settings: _find(redis, settings, request_id, model))
    if found is None:
        raise refusal(
            f"No request {request_id} is known. Those that were refused before they were queued are only in the "
            "log, and those that have ended are forgotten after TESSERA_REPLY_TTL_S.",
            code=1,
        )
    if as_json:
        typer.echo(orjson.dumps(asdict(found), option=orjson.OPT_INDENT_2).decode())
    else:
        typer.echo("\n".join(_lines(found)))


async def _find(redis: aioredis.Redis, settings: Settings, request_id: str, model: str | None) -> Explanation | None:
    models = [model] if model is not None else []
    if model is None:
        models = [served.card.model for served in await Directory(redis, Keys(settings.redis_prefix)).models()]
    return await Explanations(redis, settings).find(models, spellings_of(request_id))


def _lines(found: Explanation) -> list[str]:
    """For people."""
    sequences = f", {found.sequences} sequences" if found.sequences > 1 else ""
    how = "stream" if found.stream else "document"
    model = found.model + (f", adapter {found.adapter}" if found.adapter else "")
    model += f", by its alias {found.alias}" if found.alias else ""
    lines = [
        found.id,
        f"  {model}  {found.endpoint}  {how}{sequences}  tenant {found.tenant}  gateway {found.gateway or '-'}",
    ]
    for item in found.media:
        shape = " × ".join(map(str, item.get("shape", [])))
        lines.append(f"  {item.get('modality')} {shape}, {item.get('bytes'):,} bytes, {item.get('digest')}")
    if found.gateway_ms:
        lines.append("  before the queue: " + ", ".join(f"{name} {ms} ms" for name, ms in found.gateway_ms.items()))
    earlier = found.happenings[0].at_ms
    for happening in found.happenings:
        at = datetime.fromtimestamp(happening.at_ms / 1000, UTC).isoformat(sep=" ", timespec="milliseconds")
        what = happening.what.replace("_", " ")
        worker = f"  {happening.worker}" if happening.worker else ""
        lines.append(f"  {at.removesuffix('+00:00')}  {happening.at_ms - earlier:+10,} ms  {what}{worker}")
        earlier = happening.at_ms
    lines.append(f"  {_state(found)}")
    if found.message:
        lines.append(f"  {found.message}")
    return lines


def _state(found: Explanation) -> str:
    said = [found.state]
    if found.ahead is not None:
        said.append(f"{found.ahead} before it")
    if found.status is not None:
        said.append(f"status {found.status}")
    if found.error:
        said.append(f"error {found.error}")
    if found.deliveries > 1 or found.resumed:
        said.append(f"{found.deliveries} deliveries" + (", resumed" if found.resumed else ""))
    said += [f"{count:,} {kind} tokens" for kind, count in found.tokens.items()]
    said.append(f"{found.reply_entries} pieces of its answer are kept")
    if found.forgotten_in_s is not None:
        said.append(f"forgotten in {found.forgotten_in_s:.0f} s")
    return ", ".join(said)
