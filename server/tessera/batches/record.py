"""One batch, as it stands."""

from __future__ import annotations

import secrets
import time
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import orjson

# Of these nothing further becomes.
ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
TIMES = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")


def new_batch_id() -> str:
    """A fresh id; ids sort by the time of their making, and nobody can guess one."""
    return f"batch_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a batch was not begun, or why one of its files is missing.

    Attributes:
        line: of the input file, from 1 on; None where it is no one's.
    """

    code: str
    message: str
    param: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch.

    Attributes:
        created_s: Unix time, as are ``expires_s`` and ``times``.
        output_ttl_s: how long its files are kept.
        status: OpenAI's.
        line: lines of the input whose answers are kept; those behind it are still to be answered.
        offset: bytes of the input that these lines take.
        total: requests in the input, once it was looked over.
        times: when it got each status.
    """

    id: str
    tenant: str
    endpoint: str
    input_file_id: str
    created_s: int
    expires_s: int
    output_ttl_s: int
    metadata: dict[str, str] | None = None
    status: str = "validating"
    line: int = 0
    offset: int = 0
    total: int = 0
    completed: int = 0
    failed: int = 0
    output_file_id: str = ""
    error_file_id: str = ""
    times: dict[str, int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def encode(self) -> bytes:
        """What of it never changes, as Redis has it."""
        names = ("id", "tenant", "endpoint", "input_file_id", "created_s", "expires_s", "output_ttl_s", "metadata")
        return orjson.dumps({name: getattr(self, name) for name in names})

    @classmethod
    def decode(cls, fields: dict[bytes, bytes]) -> Self:
        """From the fields of its hash. Raises ``KeyError``, ``TypeError`` or ``ValueError`` where it is damaged."""
        known: dict[str, Any] = orjson.loads(fields[b"record"])
        for name in ("line", "offset", "total", "completed", "failed"):
            known[name] = int(fields.get(name.encode(), 0))
        for name in ("output_file_id", "error_file_id"):
            known[name] = fields.get(name.encode(), b"").decode()
        times = {name: int(at) for name in TIMES if (at := fields.get(f"{name}_at".encode()))}
        problems = tuple(Problem(**problem) for problem in orjson.loads(fields.get(b"problems", b"[]")))
        return cls(**known, status=fields[b"status"].decode(), times=times, problems=problems)


def encode_problems(problems: list[Problem]) -> bytes:
    """As Redis has them."""
    return orjson.dumps([asdict(problem) for problem in problems])
