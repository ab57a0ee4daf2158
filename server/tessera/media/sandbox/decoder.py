"""The decoder that hands every upload to a confined process, and believes nothing that comes back."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace

import structlog

from tessera.errors import MediaDecodeFailed, MediaDecoderUnavailable, TesseraError
from tessera.media import inline
from tessera.media.decoder import Decoded, SandboxIncomplete, thread_count
from tessera.media.decoding import DecodeJob, measure
from tessera.media.item import Modality
from tessera.media.limits import Deadline, timed_out
from tessera.media.markdown import MOST_IMAGES, Link
from tessera.media.sandbox import memory_file
from tessera.media.sandbox.child import cpu_seconds
from tessera.media.sandbox.inspection import inspect
from tessera.media.sandbox.messages import WRITTEN, Answer, Request, Task
from tessera.media.sandbox.offenders import Offenders
from tessera.media.sandbox.processes import Channel, Child, Processes
from tessera.media.sandbox.slots import Slots
from tessera.settings import MIB, Settings
from tessera.telemetry import media as metrics

log = structlog.get_logger()

# A process ends its own work at the deadline, and says so; one that does not is killed this much later.
_GRACE_S = 1.0
# A process is replaced after so many tasks, or once it has held so much: what it has seen and broken goes with it.
_MOST_TASKS = 256
_MOST_HELD_BYTES = 512 * MIB
# Their headers are read in Python, which nothing in them can harm, and stand in front of all pixels.
_READ_IN_PYTHON = ("image/png", "image/jpeg")
_REPORT_S = 1.0


class SandboxDecoder:
    """Decodes in processes that can do nothing else, and that are killed at the deadline or when nobody waits.

    Args:
        settings: limits, ``media_threads`` and ``media_sandbox``.
        processes: what starts them; None: as the settings say.
    """

    def __init__(self, settings: Settings, *, processes: Processes | None = None):
        self._settings = settings
        self._processes = processes or Processes(settings)
        self._slots = Slots(thread_count(settings))
        self._idle: list[Child] = []
        self._offenders = Offenders()
        self._most_cpu_s = cpu_seconds(settings)
        self._missing: list[str] | None = None

    @property
    def confinement(self) -> str:
        """See ``Decoder``."""
        if self._missing is None:
            return "not started"
        return f"without {' and '.join(self._missing)}" if self._missing else "complete"

    async def start(self) -> None:
        """See ``Decoder``. Where no process can be started now, the first upload tries again."""
        try:
            child = await self._processes.start()
        except MediaDecoderUnavailable as error:
            if self._settings.media_sandbox == "strict":
                raise SandboxIncomplete("TESSERA_MEDIA_SANDBOX=strict: no confined process can be started.") from error
            return
        self._idle.append(child)
        self._note_missing(child)
        if child.missing and self._settings.media_sandbox == "strict":
            lacking = " and no ".join(child.missing)
            raise SandboxIncomplete(f"TESSERA_MEDIA_SANDBOX=strict: this kernel or container has no {lacking}.")

    async def measure(self, job: DecodeJob) -> int:
        """See ``Decoder``; a header that a library in C would read is read in a process."""
        in_python = job.kind.mime in _READ_IN_PYTHON
        if (
            job.modality is not Modality.IMAGE
            or job.page is not None
            or (in_python and len(job.data) <= inline.INLINE_BYTES)
        ):
            return measure(job, self._settings, Deadline())
        if in_python:
            beginning = replace(job, data=job.data[: inline.INLINE_BYTES])
            with suppress(MediaDecodeFailed):
                return measure(beginning, self._settings, Deadline()) + len(job.data) - len(beginning.data)
        answer, _ = await self._do(Task.MEASURE, job, small=True)
        return answer.need_bytes

    async def page_pixels(self, job: DecodeJob) -> list[int]:
        """See ``Decoder``."""
        answer, _ = await self._do(Task.PAGES, job, small=True)
        return answer.page_pixels

    async def links(self, job: DecodeJob) -> list[Link]:
        """See ``Decoder``."""
        answer, _ = await self._do(Task.LINKS, job, small=False)
        return answer.links

    async def decode(self, job: DecodeJob, *, small: bool = False) -> list[Decoded]:
        """See ``Decoder``."""
        answer, decoded = await self._do(Task.DECODE, job, small=small)
        metrics.decode_seconds.labels(job.modality.value).observe(answer.seconds)
        return decoded

    async def aclose(self) -> None:
        """End the processes."""
        self._idle.clear()
        await self._processes.aclose()

    async def _do(self, task: Task, job: DecodeJob, *, small: bool) -> tuple[Answer, list[Decoded]]:
        if await self._offenders.barred(job.data):
            raise MediaDecodeFailed(f"The {job.what} is not decoded: the decoder has crashed on it twice.")
        asked = time.monotonic()
        async with self._slots.take(small=small):
            child = await self._ready_child()
            metrics.sandbox_wait_seconds.labels(job.modality.value).observe(time.monotonic() - asked)
            answer, decoded = await self._watch(child, task, job)
            self._keep(child, answer)
        if job.modality is Modality.VIDEO:
            for outcome, packets in zip(("decoded", "skipped"), answer.packets, strict=True):
                metrics.video_packets.labels(outcome).inc(packets)
        if answer.undecodable is not None:
            log.info("media_undecodable", **answer.undecodable)
        if (failure := answer.failure()) is not None:
            raise failure
        return answer, decoded

    async def _ready_child(self) -> Child:
        while self._idle:
            child = self._idle.pop()
            if not child.status.done():
                return child
            self._end(child, "crash")
        child = await self._processes.start()
        self._note_missing(child)
        return child

    def _note_missing(self, child: Child) -> None:
        if self._missing is None and child.missing:
            log.warning("media_sandbox_incomplete", missing=child.missing)
        self._missing = child.missing

    def _keep(self, child: Child, answer: Answer) -> None:
        child.tasks += 1
        fresh = child.tasks < _MOST_TASKS and answer.cpu_s < self._most_cpu_s
        if fresh and answer.peak_bytes < _MOST_HELD_BYTES:
            self._idle.append(child)
        else:
            self._end(child, "replaced")

    def _end(self, child: Child, reason: str) -> None:
        self._processes.kill(child)
        metrics.sandbox_ends.labels(reason).inc()

    async def _watch(self, child: Child, task: Task, job: DecodeJob) -> tuple[Answer, list[Decoded]]:
        """Have a task done by a process, which ends with it where anything goes wrong."""
        try:
            async with asyncio.timeout(self._settings.media_decode_timeout_s + _GRACE_S):
                return await self._ask(child, task, job)
        except TimeoutError as error:
            self._end(child, "deadline")
            raise timed_out(self._settings.media_decode_timeout_s) from error
        except (ValueError, OSError) as error:
            self._end(child, "crash")
            raise await self._crash(child, job, error) from error
        except BaseException:
            self._end(child, "cancelled")
            raise

    async def _ask(self, child: Child, task: Task, job: DecodeJob) -> tuple[Answer, list[Decoded]]:
        """Raises ValueError or OSError where the process died or says what no process of ours would."""
        timeout_s, channel = self._settings.media_decode_timeout_s, child.channel
        request = Request(
            task, job.modality, job.kind, job.spec, job.with_audio, timeout_s, channel.most_bytes, job.page
        )
        if len(job.data) <= channel.most_bytes:
            channel.send(request.encode(), job.data)
        else:
            with memory_file.closing(await inline.run(lambda: memory_file.create(job.data), len(job.data))) as file:
                channel.send(request.encode(), files=[file])
        answer, payloads = Answer.decode(await channel.receive())
        if answer.error is not None or task is not Task.DECODE:
            _check(answer, self._settings)
            return answer, []
        if answer.payload_bytes and not payloads:
            payloads = await self._fetch(channel, answer.payload_bytes)
        return answer, await inline.run(lambda: inspect(job, payloads), sum(answer.payload_bytes))

    async def _fetch(self, channel: Channel, sizes: Sequence[int]) -> list[memoryview]:
        """Payloads that are too large for a message."""
        with ExitStack() as stack:
            files = [stack.enter_context(memory_file.closing(memory_file.create())) for _ in sizes]
            channel.send(b"files", files=files)
            if await channel.receive() != WRITTEN:
                raise ValueError("no word of a decoding process")
            return [memory_file.sealed(file, size) for file, size in zip(files, sizes, strict=True)]

    async def _crash(self, child: Child, job: DecodeJob, error: Exception) -> TesseraError:
        status: int | None = None
        with suppress(TimeoutError):
            status = await asyncio.wait_for(asyncio.shield(child.status), _REPORT_S)
        log.warning(
            "media_process_crashed",
            modality=job.modality.value,
            kind=job.kind.mime,
            bytes=len(job.data),
            status=_name(status),
            reason=str(error),
        )
        await self._offenders.note(job.data)
        if status == -signal.SIGXCPU:
            return timed_out(self._settings.media_decode_timeout_s)
        return MediaDecodeFailed(f"The {job.what} cannot be decoded: the decoder crashed on it.")


def _check(answer: Answer, settings: Settings) -> None:
    """Raises ValueError where an answer says of a document what is beyond what is allowed."""
    pixels, at = answer.page_pixels, 0
    if len(pixels) > settings.media_max_pages or max(pixels, default=0) > settings.media_max_page_pixels:
        raise ValueError("no pages of a decoding process")
    if len(answer.links) > MOST_IMAGES:
        raise ValueError("no links of a decoding process")
    for link in answer.links:
        if not at <= link.start <= link.end:
            raise ValueError("links that overlap")
        at = link.end


def _name(status: int | None) -> str:
    if status is None or status >= 0:
        return str(status)
    return signal.Signals(-status).name
