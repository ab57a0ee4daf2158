"""Steps without vLLM: whatever bytes a test's application takes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from tessera.worker.steps import Step


class PlainCodec:
    def encode(self, output: Any) -> bytes:
        return bytes(output)

    def decode(self, content: bytes) -> Any:
        return content

    def pack(self, request_id: str, steps: Iterable[Step]) -> bytes:
        return orjson.dumps([request_id, [[s.sequence, s.finished, s.content.decode()] for s in steps]]) + b"\n"

    def unpack(self, takes: Iterable[bytes]) -> Iterable[tuple[str, list[Step]]]:
        for line in b"".join(takes).splitlines():
            request_id, steps = orjson.loads(line)
            yield request_id, [Step(sequence, finished, content.encode()) for sequence, finished, content in steps]
