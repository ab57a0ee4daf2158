"""A process that decodes: gives up what it does not need, then works off tasks until its gateway closes the socket."""

from __future__ import annotations

import os
import resource
import socket
import time
from collections.abc import MutableMapping, Sequence
from itertools import chain
from typing import Any, NoReturn

import orjson
import structlog

from tessera.errors import TesseraError
from tessera.media.decoding import DecodeJob, Packed, decode, find_links, measure, page_pixels
from tessera.media.frames import CODEC_THREADS
from tessera.media.item import Modality
from tessera.media.limits import Deadline, max_item_bytes
from tessera.media.pixels import Pixels
from tessera.media.sandbox import confinement, memory_file
from tessera.media.sandbox.messages import MAX_MESSAGE_BYTES, WRITTEN, Answer, Request, Task, describe_error
from tessera.settings import MIB, Settings
from tessera.telemetry import media as metrics

_MOST_FILES = 2
# Beyond the item: the header in front of it.
_FILE_ROOM_BYTES = 2 * MIB


def serve(channel: socket.socket, settings: Settings) -> NoReturn:
    """Say what this kernel cannot confine, then answer requests; the process ends with the socket."""
    missing = confinement.confine(
        memory_bytes=settings.media_sandbox_memory_bytes,
        file_bytes=max_item_bytes(settings) + _FILE_ROOM_BYTES,
        cpu_s=int(2 * cpu_seconds(settings)),
    )
    channel.send(orjson.dumps(missing))
    worker = _Worker(settings)
    while True:
        message, files, _, _ = socket.recv_fds(channel, MAX_MESSAGE_BYTES, _MOST_FILES)
        if not message:
            os._exit(0)
        request, data = Request.decode(message)
        for file in files:
            with memory_file.closing(file):
                data = memory_file.read(file)
        answer, payloads = worker.answer(request, data)
        _hand_over(channel, answer, payloads, request.most_bytes)


def _hand_over(channel: socket.socket, answer: Answer, payloads: Sequence[Packed], most_bytes: int) -> None:
    """Send an answer, and payloads with it, or into files that are asked for by that."""
    if sum(answer.payload_bytes) <= most_bytes:
        pieces = (bytes(piece) if isinstance(piece, Pixels) else piece for piece in chain.from_iterable(payloads))
        channel.sendmsg([answer.encode(), *pieces])
        return
    channel.send(answer.encode())
    message, files, _, _ = socket.recv_fds(channel, MAX_MESSAGE_BYTES, _MOST_FILES)
    if not message:
        os._exit(0)
    for file, payload in zip(files, payloads, strict=True):
        with memory_file.closing(file):
            memory_file.write(file, *payload)
    channel.send(WRITTEN)


def cpu_seconds(settings: Settings) -> float:
    """CPU time that one task may need: a process that has used so much is replaced after its task."""
    return settings.media_decode_timeout_s * CODEC_THREADS + 1


class _Worker:
    def __init__(self, settings: Settings):
        self._settings = settings
        self._remark: MutableMapping[str, Any] | None = None
        structlog.configure(processors=[self._note])

    def answer(self, request: Request, data: bytes) -> tuple[Answer, Sequence[Packed]]:
        """Do one task. Returns the answer, and the payloads that it tells of."""
        job, deadline = request.job(data), Deadline(request.timeout_s)
        began, packets = time.monotonic(), _packets(job)
        self._remark = None
        told: dict[str, Any] = {}
        payloads: Sequence[Packed] = ()
        try:
            if request.task is Task.MEASURE:
                told["need_bytes"] = measure(job, self._settings, deadline)
            elif request.task is Task.PAGES:
                told["page_pixels"] = page_pixels(job, self._settings, deadline)
            elif request.task is Task.LINKS:
                told["links"] = find_links(job)
            else:
                payloads = decode(job, self._settings, deadline)
                told["payload_bytes"] = [sum(map(len, payload)) for payload in payloads]
        except TesseraError as error:
            told["error"] = describe_error(error)
        used = resource.getrusage(resource.RUSAGE_SELF)
        decoded, skipped = (now - before for now, before in zip(_packets(job), packets, strict=True))
        answer = Answer(
            **told,
            undecodable=None if self._remark is None else {k: str(v) for k, v in self._remark.items()},
            seconds=time.monotonic() - began,
            packets=(decoded, skipped),
            peak_bytes=used.ru_maxrss * 1024,
            cpu_s=used.ru_utime + used.ru_stime,
        )
        return answer, payloads

    def _note(self, _: Any, __: str, event: MutableMapping[str, Any]) -> NoReturn:
        """Keep what is logged for the answer: this process has nowhere else to say it."""
        self._remark = event
        raise structlog.DropEvent


def _packets(job: DecodeJob) -> tuple[int, int]:
    """Decoded and skipped so far: to have them counted takes longer than all else around a small image."""
    if job.modality is not Modality.VIDEO:
        return 0, 0
    (family,) = metrics.video_packets.collect()
    counted = {s.labels["outcome"]: int(s.value) for s in family.samples if s.name.endswith("_total")}
    return counted.get("decoded", 0), counted.get("skipped", 0)
