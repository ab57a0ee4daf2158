"""What an engine core gave one request, as bytes that another worker can read.

A *step* is one output of the core for one sequence: new token ids, log-probabilities where they were asked for, a
finish reason. A *take* is what vLLM's application took of one request at once: usually one step, several where it was
late or where the request has several sequences (``n``). Takes are written in the order in which they were taken, and
replayed with the same boundaries, because what the application makes of a step depends on where it ends.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgpack

from tessera.worker.bridge import vllm_name

# Tensors and arrays (log-probabilities) travel inside the message, however large.
_INLINE_BYTES = 1 << 62


@dataclass(frozen=True, slots=True)
class Step:
    """One output of the engine core.

    Attributes:
        sequence: which of the request's ``n`` sequences it belongs to.
        finished: the sequence ended with it, for the core or (a stop string) for vLLM's detokenizer.
        content: what its engine can read again: of vLLM, ``EngineCoreOutput`` in an encoding of the same version.
    """

    sequence: int
    finished: bool
    content: bytes


class TakeCodec:
    """Packs takes, whatever their steps hold."""

    def pack(self, request_id: str, steps: Iterable[Step]) -> bytes:
        """One take of a request."""
        packed: list[Any] = [request_id]
        for step in steps:
            packed += (step.sequence, step.finished, step.content)
        taken: bytes = msgpack.packb(packed)
        return taken

    def unpack(self, takes: Iterable[bytes]) -> Iterable[tuple[str, list[Step]]]:
        """Request ids and steps of takes, several of which may be joined. Raises ``ValueError``."""
        for raw in takes:
            unpacker = msgpack.Unpacker()
            unpacker.feed(raw)
            try:
                for request_id, *parts in unpacker:
                    triples = zip(parts[::3], parts[1::3], parts[2::3], strict=True)
                    yield request_id, [Step(*triple) for triple in triples]
            except (msgpack.UnpackException, TypeError) as error:
                raise ValueError(f"a take of another version: {error}") from error


class StepCodec(TakeCodec):
    """Steps of vLLM's engine core; for one thread."""

    def __init__(self) -> None:
        encoder, decoder = vllm_name("MsgpackEncoder"), vllm_name("MsgpackDecoder")
        self._encode = encoder(size_threshold=_INLINE_BYTES).encode
        self._decode = decoder(vllm_name("EngineCoreOutput")).decode

    def encode(self, output: Any) -> bytes:
        """The content of a step, without the request's id, which is of this engine alone."""
        identity, output.request_id = output.request_id, ""
        content = bytes(self._encode(output)[0])
        output.request_id = identity
        return content

    def decode(self, content: bytes) -> Any:
        """The output that was encoded. Raises ``ValueError``."""
        try:
            return self._decode(content)
        except Exception as error:  # whatever msgspec, numpy or torch say of bytes that are not theirs
            raise ValueError(f"a step of another version: {error}") from error
