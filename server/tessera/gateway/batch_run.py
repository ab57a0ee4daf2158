"""One batch in the hands of this gateway: looked over, answered line by line, and made into files."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

import structlog

from tessera.batches import KINDS, Batch, Claim, Problem, Progress, Shelf, encode_problems
from tessera.errors import FileMissing, FilesQuotaExceeded, FilesUnavailable, FileTooLarge, QueueUnavailable
from tessera.files import File
from tessera.gateway.batch_input import Line, look_over, read_lines
from tessera.gateway.batch_line import Answer, BatchLine, expired
from tessera.gateway.batch_pace import Pace
from tessera.gateway.services import Services
from tessera.telemetry import batches as metrics

log = structlog.get_logger()

# Answers are kept in Redis until there are so many bytes of them, and then in the store of files.
PART_BYTES = 1024 * 1024
# Of requests that wait or run at once; one may be larger.
MOST_BYTES_AT_ONCE = 64 * 1024 * 1024
_EXPIRED_AT_ONCE = 500


class BatchRun:
    """A batch from wherever it stands to its end. May be given up at any time; whoever claims it goes on."""

    def __init__(self, services: Services, shelf: Shelf, claim: Claim):
        self.cancelling = asyncio.Event()
        self._services = services
        self._files = services.require_files()
        self._shelf = shelf
        self._claim = claim

    async def run(self) -> None:
        """Raises ``Lost`` where another runner has it, and what passes: ``QueueUnavailable``, ``FilesUnavailable``."""
        batch = await self._read()
        try:
            file = await self._files.find(batch.tenant, batch.input_file_id)
        except FileMissing:
            if batch.status != "validating":
                await self._finish(batch)
                return
            await self._shelf.fail(self._claim, [Problem("file_not_found", "The input file is gone.", "input_file_id")])
            self._ended("failed")
            return
        if batch.status == "validating":
            await self._look_over(batch, file)
            batch = await self._read()
        if batch.status == "in_progress":
            await self._answer(batch, file)
            batch = await self._read()
        if batch.status in {"finalizing", "cancelling"}:
            await self._finish(batch)

    async def _read(self) -> Batch:
        batch = await self._shelf.read(self._claim.batch_id)
        if batch is None:
            raise QueueUnavailable("The record of a batch cannot be read.")
        return batch

    async def _look_over(self, batch: Batch, file: File) -> None:
        settings = self._services.settings
        most = {"most_lines": settings.batch_max_lines, "most_bytes": settings.max_body_bytes}
        total, problems = await look_over(batch, self._files, file, self._services.catalogue, **most)
        if problems:
            await self._shelf.fail(self._claim, problems)
            self._ended("failed")
        else:
            await self._shelf.enter(self._claim, "in_progress", before="validating", total=total)

    async def _answer(self, batch: Batch, file: File) -> None:
        window: deque[tuple[Line, BatchLine, asyncio.Task[Answer]]] = deque()
        stop = asyncio.create_task(self.cancelling.wait())
        most_bytes = self._services.settings.max_body_bytes
        lines = read_lines(self._files, file, most_bytes, number=batch.line, offset=batch.offset)
        try:
            async with aclosing(lines):
                if await self._answer_all(batch, lines, window, stop):
                    await self._shelf.enter(self._claim, "finalizing", before="in_progress")
                elif self.cancelling.is_set():
                    await self._cancel_jobs(window)
                    await self._keep([(line, task.result()) for line, _, task in window if _answered(task)])
                else:
                    await self._cancel_jobs(window)
                    rest = [
                        (line, task.result() if _answered(task) else expired(batch, line)) for line, _, task in window
                    ]
                    await self._keep(rest)
                    await self._expire(batch, lines)
                    await self._shelf.enter(self._claim, "finalizing", before="in_progress", outcome="expired")
        finally:
            stop.cancel()
            for _, _, task in window:
                task.cancel()
            await asyncio.gather(*(task for _, _, task in window), return_exceptions=True)

    async def _answer_all(
        self,
        batch: Batch,
        lines: AsyncGenerator[Line, None],
        window: deque[tuple[Line, BatchLine, asyncio.Task[Answer]]],
        stop: asyncio.Task[bool],
    ) -> bool:
        """Answer lines in their order, some at once. Returns False where time is up, or the batch is to end."""
        most, nbytes, more = self._services.settings.batch_lines_at_once, 0, True
        pace = Pace(most)
        while True:
            while more and len(window) < most and (not window or nbytes < MOST_BYTES_AT_ONCE):
                line = await anext(lines, None)
                if line is None:
                    more = False
                    break
                request = BatchLine(self._services, batch, line)
                task = asyncio.create_task(request.run())
                pace.begin(task)
                window.append((line, request, task))
                nbytes += len(line.raw)
                await asyncio.sleep(pace.pause_s)
            if not window:
                return True
            left_s = batch.expires_s - time.time()
            if left_s > 0:
                waited = [window[0][2], stop]
                await asyncio.wait(waited, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
                if not stop.done():
                    await asyncio.sleep(pace.gather_s)
            answered: list[tuple[Line, Answer]] = []
            while window and window[0][2].done():
                line, _, task = window.popleft()
                nbytes -= len(line.raw)
                answered.append((line, task.result()))
            await self._keep(answered)
            if stop.done() or (window and time.time() >= batch.expires_s):
                return False

    async def _expire(self, batch: Batch, lines: AsyncGenerator[Line, None]) -> None:
        rest: list[tuple[Line, Answer]] = []
        async for line in lines:
            rest.append((line, expired(batch, line)))
            if len(rest) >= _EXPIRED_AT_ONCE:
                await self._keep(rest)
                rest = []
        await self._keep(rest)

    async def _cancel_jobs(self, window: deque[tuple[Line, BatchLine, asyncio.Task[Answer]]]) -> None:
        """Nobody waits for these any more."""
        jobs = defaultdict(list)
        for _, request, task in window:
            if not task.done():
                if request.model:
                    jobs[request.model].append(request.job_id)
                task.cancel()
        await asyncio.gather(*(task for _, _, task in window), return_exceptions=True)
        for model, ids in jobs.items():
            await self._services.broker.cancel_all(model, ids)

    async def _keep(self, answered: list[tuple[Line, Answer]]) -> None:
        if not answered:
            return
        last, completed = answered[-1][0], sum(answer.ok for _, answer in answered)
        output, errors = (b"".join(answer.text for _, answer in answered if answer.ok is ok) for ok in (True, False))
        told = (last.number, last.end, completed, len(answered) - completed, output, errors)
        sizes = await self._shelf.advance(self._claim, Progress(*told))
        metrics.lines.labels("completed").inc(completed)
        metrics.lines.labels("failed").inc(len(answered) - completed)
        for kind in KINDS:
            if sizes[kind] >= PART_BYTES:
                await self._stow(kind)

    async def _stow(self, kind: str) -> None:
        text = await self._shelf.buffered(self._claim.batch_id, kind)
        ttl_s = 2 * self._services.settings.batch_window_s
        place = await self._files.segments.write(text, ttl_s=ttl_s)
        await self._shelf.stow(self._claim, kind, place, len(text))

    async def _finish(self, batch: Batch) -> None:
        """Make the files, and end the batch."""
        outcome = "cancelled" if batch.status == "cancelling" else await self._outcome()
        made: dict[str, str] = {}
        places: list[str] = []
        problems: list[Problem] = []
        for kind in KINDS:
            parts = await self._shelf.parts(batch.id, kind)
            rest = await self._shelf.buffered(batch.id, kind)
            places += [place for _, place in parts]
            if not parts and not rest:
                continue
            try:
                made[f"{kind}_file_id"] = await self._join(batch, kind, parts, rest)
            except (FilesQuotaExceeded, FileTooLarge) as error:
                # It would be no other at the next try.
                made[f"{kind}_file_id"] = ""
                problems.append(Problem(error.code, f"The {kind} file could not be made. {error.message}"))
                metrics.unmade.labels(kind, error.code).inc()
                log.warning("batch_file_not_made", batch=batch.id, tenant=batch.tenant, kind=kind, code=error.code)
        if problems:
            made["problems"] = encode_problems(problems).decode()
            outcome = "failed" if outcome == "completed" else outcome
        await self._shelf.enter(self._claim, outcome, **made)
        self._ended(outcome)
        for place in places:
            with suppress(FilesUnavailable):  # it is swept once its time is over
                await self._files.segments.delete(place)

    async def _outcome(self) -> str:
        return await self._shelf.outcome(self._claim.batch_id) or "completed"

    async def _join(self, batch: Batch, kind: str, parts: list[tuple[int, str]], rest: bytes) -> str:
        """One of the batch's files. An earlier runner may have made it, and died before it could say so."""
        known = batch.output_file_id if kind == "output" else batch.error_file_id
        if known and await self._files.find_all(batch.tenant, [known]):
            return known
        async with self._files.receiving(batch.tenant, None) as receipt:
            for nbytes, place in parts:
                async with aclosing(self._files.segments.read(place, nbytes)) as pieces:
                    async for piece in pieces:
                        await receipt.content.write(piece)
            await receipt.content.write(rest)
            await self._shelf.enter(self._claim, "", **{f"{kind}_file_id": receipt.file_id})
            name = f"{batch.id}_{kind}.jsonl"
            await receipt.finish(filename=name, purpose="batch_output", ttl_s=batch.output_ttl_s)
        return receipt.file_id

    def _ended(self, status: str) -> None:
        metrics.ended.labels(status).inc()
        log.info("batch_ended", batch=self._claim.batch_id, status=status)


def _answered(task: asyncio.Task[Answer]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None
