"""A fork server whose processes do what an upload may one day make a decoder do: the data says what."""

from __future__ import annotations

import ctypes
import os
import time
from dataclasses import replace

import numpy as np

from tessera.media import decoding
from tessera.media.inline import INLINE_BYTES
from tessera.media.item import Modality, lay_out, pack
from tessera.media.sandbox import child, fork_server, messages


def _hang() -> None:
    while True:
        time.sleep(1)


def _eat() -> None:
    held = []
    while True:
        held.append(bytearray(64 << 20))


DEEDS = {
    b"crash": lambda: ctypes.string_at(0),
    b"exit": lambda: os._exit(0),
    b"hang": _hang,
    b"eat": _eat,
}


def decode(job, settings, deadline):
    deed = job.data.partition(b":")[2]
    if deed in DEEDS:
        DEEDS[deed]()
    if deed == b"another modality":
        return [lay_out(np.zeros((2, 2, 3), np.uint8), Modality.IMAGE, {})]
    if deed == b"another's sound":
        sound = lay_out(np.zeros(4, np.float32), Modality.AUDIO, {})
        return [lay_out(np.zeros((1, 2, 2, 3), np.uint8), Modality.VIDEO, {"audio_digest": "0" * 64}), sound]
    if deed == b"another size in files":
        return [lay_out(np.zeros(INLINE_BYTES, np.float32), Modality.AUDIO, {})]
    if deed in (b"another size", b"garbage", b"another shape"):
        return [lay_out(np.zeros(4, np.float32), Modality.AUDIO, {})]
    if deed == b"not finite":
        sound = pack(np.zeros(4, np.float32), Modality.AUDIO, {})
        return [(sound[:-4], np.float32(np.nan).tobytes())]
    return decoding.decode(job, settings, deadline)


class Worker(child._Worker):
    """What comes after decoding, done otherwise."""

    def answer(self, request, data):
        answer, payloads = super().answer(request, data)
        deed = data.partition(b":")[2]
        if deed in (b"another size", b"another size in files"):
            return replace(answer, payload_bytes=[answer.payload_bytes[0] + 1]), payloads
        if deed == b"garbage":
            return _Garbage(b"\x80\x04garbage"), ()
        if deed == b"another shape":
            return _Garbage(messages._framed(b'{"payload_bytes": "many"}')), ()
        return answer, payloads


class _Garbage:
    payload_bytes = ()

    def __init__(self, said):
        self._said = said

    def encode(self) -> bytes:
        return self._said


if __name__ == "__main__":
    child.decode, child._Worker = decode, Worker
    fork_server.main()
