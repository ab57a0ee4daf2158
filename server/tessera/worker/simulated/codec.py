"""Steps of the simulated engine, as bytes that another worker can read: the number of a token."""

from __future__ import annotations

from typing import Any

from tessera.worker.steps import TakeCodec


class SimulatedCodec(TakeCodec):
    """For one thread."""

    def encode(self, output: Any) -> bytes:
        """The content of a step: its token's number."""
        return str(output).encode()

    def decode(self, content: bytes) -> int:
        """The number that was encoded. Raises ``ValueError``."""
        return int(content)
