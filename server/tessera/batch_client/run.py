"""One batch from its input file to its output file, however often this process is stopped in between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from tessera.batch_client.note import Note, digest
from tessera.batch_client.server import Refused, Server, Unreachable

_T = TypeVar("_T")

POLL_S = 1.0
# A gateway that is restarted is back by then; nothing is lost meanwhile.
RETRY_S = 2.0
ENDED = ("completed", "failed", "expired", "cancelled")
_LONGEST_LINE_BYTES = 64 * 1024 * 1024
_MOST_PROBLEMS_SHOWN = 20


class BatchFailed(Exception):
    """There is no output, or no whole one; the message says why."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is asked for.

    Attributes:
        endpoint: of all requests; None: what the first one says.
        keep: leave the files on the server.
    """

    input: Path
    output: Path
    errors: Path
    endpoint: str | None = None
    keep: bool = False


async def run(job: Job, url: str, key: str, console: Console) -> int:
    """Begin a batch, or go on with the one that was begun for this output, and get its files.

    Returns:
        How many requests failed; they are in the file of errors.

    Raises:
        BatchFailed: see there.
    """
    note = _note(job)
    async with Server.open(note.url if note else url, key) as server:
        try:
            if note is None:
                note = await _begin(job, server, url, console)
            else:
                console.print(f"Going on with {note.batch_id}.")
            ended = await _follow(server, note.batch_id, console)
            await _collect(job, server, ended)
        except Refused as refused:
            raise BatchFailed(_told(refused, job)) from refused
        except Unreachable as error:
            raise BatchFailed(str(error)) from error
    Note.beside(job.output).unlink(missing_ok=True)
    if ended["status"] != "completed":
        raise BatchFailed("\n".join([f"The batch has ended as `{ended['status']}`.", *_problems(ended)]))
    return int(ended["request_counts"]["failed"])


async def cancel(output: Path, key: str) -> str:
    """End the batch that was begun for an output. Returns its id.

    Raises:
        BatchFailed: there is none, or it has ended.
    """
    note = _read_note(output)
    if note is None:
        raise BatchFailed(f"No batch runs for {output}: there is no {Note.beside(output)}.")
    async with Server.open(note.url, key) as server:
        try:
            await server.cancel(note.batch_id)
        except (Refused, Unreachable) as error:
            raise BatchFailed(str(error)) from error
    return note.batch_id


def _note(job: Job) -> Note | None:
    note = _read_note(job.output)
    if note is None:
        for path in (job.output, job.errors):
            if path.exists():
                raise BatchFailed(f"{path} exists: name another, or move it away.")
    elif note.input_sha256 != digest(job.input):
        raise BatchFailed(
            f"{job.input} is not what the batch for {job.output} was begun with. Name another output; or delete "
            f"{Note.beside(job.output)}, and the batch is forgotten."
        )
    return note


def _read_note(output: Path) -> Note | None:
    try:
        return Note.read(output)
    except ValueError as error:
        raise BatchFailed(str(error)) from error


def _endpoint_of(path: Path) -> str:
    with path.open("rb") as file:
        for line in iter(lambda: file.readline(_LONGEST_LINE_BYTES), b""):
            if line.strip():
                with suppress(KeyError, TypeError, ValueError):
                    return str(orjson.loads(line)["url"])
                break
    raise BatchFailed(f"{path}: its first line is no request with a `url`. Say which with `--endpoint`.")


async def _begin(job: Job, server: Server, url: str, console: Console) -> Note:
    endpoint = job.endpoint or _endpoint_of(job.input)
    digested = await asyncio.to_thread(digest, job.input)
    with console.status(f"Sending {job.input.name}"):
        file_id = await server.upload(job.input)
    try:
        batch = await server.begin(file_id, endpoint)
    except Refused:
        with suppress(Refused, Unreachable):
            await server.forget(file_id)
        raise
    note = Note(url, batch["id"], digested)
    note.write(job.output)
    console.print(f"Begun as {note.batch_id}. Stopped here, it goes on there: the same command takes it up again.")
    return note


async def _follow(server: Server, batch_id: str, console: Console) -> dict[str, Any]:
    """Show how far it is, until it has ended. Returns it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        shown = progress.add_task("waiting", total=None)
        while True:
            batch = await _patiently(lambda: server.find(batch_id), progress, shown)
            counts = batch["request_counts"]
            failed = f", {counts['failed']} failed" if counts["failed"] else ""
            progress.update(
                shown,
                description=batch["status"].replace("_", " ") + failed,
                completed=counts["completed"] + counts["failed"],
                total=counts["total"] or None,
            )
            if batch["status"] in ENDED:
                return batch
            await asyncio.sleep(POLL_S)


async def _patiently(ask: Callable[[], Awaitable[_T]], progress: Progress, shown: TaskID) -> _T:
    """Ask until somebody answers: the batch does not need this gateway, nor this terminal."""
    while True:
        try:
            return await ask()
        except Unreachable:
            progress.update(shown, description="no answer, trying again")
            await asyncio.sleep(RETRY_S)


async def _collect(job: Job, server: Server, batch: dict[str, Any]) -> None:
    files = {"output_file_id": job.output, "error_file_id": job.errors}
    for name, path in files.items():
        if batch[name]:
            await server.download(batch[name], path)
    if not job.keep:
        for name in ("input_file_id", *files):
            if batch[name]:
                with suppress(Refused):
                    await server.forget(batch[name])


def _problems(batch: dict[str, Any]) -> list[str]:
    found = (batch["errors"] or {}).get("data", [])
    told = [
        (f"line {problem['line']}: " if problem["line"] is not None else "") + problem["message"]
        for problem in found[:_MOST_PROBLEMS_SHOWN]
    ]
    more = len(found) - len(told)
    return [*told, *([f"… and {more} more"] if more > 0 else [])]


def _told(refused: Refused, job: Job) -> str:
    if refused.status == 404 and Note.beside(job.output).exists():
        return f"{refused} Delete {Note.beside(job.output)} to begin anew."
    return str(refused)
