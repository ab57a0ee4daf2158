"""Spans of a trace (OpenTelemetry), and the headers that carry it from one process to the next (W3C Trace Context).

Sources: https://www.w3.org/TR/trace-context/, https://www.w3.org/TR/baggage/
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

# Version, trace, span, flags. A later version may say more behind these.
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_CARRIED = ("traceparent", "tracestate", "baggage")
# Of what clients send; what is longer is as if it were not there.
_LONGEST = 1024
_SAMPLED = 1

Value = str | int | float | bool


class Kind(IntEnum):
    """As OTLP numbers them."""

    INTERNAL = 1
    SERVER = 2
    PRODUCER = 4
    CONSUMER = 5


def carried_in(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The headers of a request that belong to its trace, where its ``traceparent`` is one."""
    found = {}
    for name, value in headers:
        known = name.decode("latin-1")
        if known in _CARRIED and len(value) <= _LONGEST:
            found[known] = value.decode("latin-1")
    return found if trace_of(found) else {}


def trace_of(carried: Mapping[str, str]) -> str:
    """The id of the trace; empty: there is none."""
    parent = _parse(carried.get("traceparent", ""))
    return parent[0] if parent else ""


def _parse(traceparent: str) -> tuple[str, str, bool] | None:
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None:
        return None
    version, trace, span, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or not trace.strip("0") or not span.strip("0"):
        return None
    return trace, span, bool(int(flags, 16) & _SAMPLED)


@dataclass(slots=True)
class Span:
    """One part of what happens in a trace.

    Attributes:
        parent: id of the span that it is a part of; empty: it is the first one.
        sampled: it is to be told; if not, those behind it know that, too.
        beside: what goes on to the next process as it is.
        start_ns: Unix time.
        end_ns: 0: it goes on.
        error: what it failed with; empty: it did not.
    """

    name: str
    kind: Kind
    trace: str
    parent: str
    sampled: bool
    beside: dict[str, str] = field(default_factory=dict)
    start_ns: int = field(default_factory=time.time_ns)
    end_ns: int = 0
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    attributes: dict[str, Value] = field(default_factory=dict)
    error: str = ""

    @classmethod
    def behind(cls, name: str, kind: Kind, carried: Mapping[str, str], *, share: float) -> Span:
        """One that goes on with the trace that a process before it began, or begins one.

        Args:
            share: of the traces that begin here, those that are told.
        """
        beside = {key: value for key, value in carried.items() if key != "traceparent"}
        if parent := _parse(carried.get("traceparent", "")):
            return cls(name, kind, *parent, beside)
        sampled = share >= 1 or secrets.randbelow(1_000_000) < share * 1_000_000
        return cls(name, kind, secrets.token_hex(16), "", sampled, beside)

    def child(self, name: str, kind: Kind = Kind.INTERNAL) -> Span:
        """A part of this one."""
        return Span(name, kind, self.trace, self.id, self.sampled, self.beside)

    def carried(self) -> dict[str, str]:
        """For the next process."""
        return {"traceparent": f"00-{self.trace}-{self.id}-{int(self.sampled):02x}", **self.beside}

    def encode(self) -> dict[str, object]:
        """As OTLP has it in JSON (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding)."""
        return {
            "traceId": self.trace,
            "spanId": self.id,
            "parentSpanId": self.parent,
            "name": self.name,
            "kind": int(self.kind),
            "startTimeUnixNano": str(self.start_ns),
            "endTimeUnixNano": str(self.end_ns),
            "attributes": encode(self.attributes),
            "status": {"code": 2, "message": self.error} if self.error else {},
        }


def encode(attributes: Mapping[str, Value]) -> list[dict[str, object]]:
    """As OTLP has them in JSON."""
    return [{"key": key, "value": _value(value)} for key, value in attributes.items()]


def _value(value: Value) -> dict[str, object]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"doubleValue": value} if isinstance(value, float) else {"stringValue": value}
