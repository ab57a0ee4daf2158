"""What a run counts."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from loadtests.chaos.flight import Flight

# The first few of each kind are shown.
MOST_SHOWN = 20


@dataclass(slots=True)
class Tally:
    """Counts of one run.

    Attributes:
        strikes: faults, by kind.
        sent: requests; one that is asked again, after its gateway died, is the same request.
        answered: with the right answer or another one.
        failed: ended with a clear error, by code.
        refused: told to come again, by code; they did.
        unreachable: connections that no gateway took; they were tried again elsewhere.
        asked_again: connections that broke with their gateways, whose requests were sent once more.
        picked_up: the same, whose streams were gone on with through another gateway (`Last-Event-ID`).
        joined: the same, which found by their keys that they were running or answered (`Idempotency-Key`).
        lost: neither an answer nor an error came.
        missing: tokens that an answer did not have.
        duplicated: tokens that came twice, or belong to another answer.
        differing: answers that are not what they are without faults.
        unsteady: questions that were left out, since a real model answered them in peace in two ways.
        gaps_s: from a fault to the next token, by kind of fault.
        seen: what was wrong, in words.
    """

    strikes: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    answered: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    unreachable: int = 0
    asked_again: int = 0
    picked_up: int = 0
    joined: int = 0
    lost: int = 0
    missing: int = 0
    duplicated: int = 0
    differing: int = 0
    unsteady: int = 0
    gaps_s: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    seen: list[str] = field(default_factory=list)

    def land(self, flight: Flight) -> None:
        """Take up what a request that was answered had to wait."""
        for kind, seconds in flight.gaps():
            self.gaps_s[kind].append(seconds)

    def note(self, what: str) -> None:
        """Keep something that was wrong."""
        if len(self.seen) < MOST_SHOWN:
            self.seen.append(what)

    @property
    def kills(self) -> int:
        """Processes that were ended by ``kill -9``."""
        return sum(number for kind, number in self.strikes.items() if kind.endswith("killed"))

    @property
    def clean(self) -> bool:
        """Nothing was lost, repeated or changed, and every request has come to its end."""
        wrong = self.lost + self.missing + self.duplicated + self.differing
        return not wrong and self.sent == self.answered + self.failed.total()

    @property
    def unnoticed(self) -> bool:
        """No client has noticed anything: each request was answered, and by the first gateway that it was sent to."""
        again = self.unreachable + self.asked_again + self.refused.total()
        return self.clean and not again and not self.failed

    def to_json(self) -> dict[str, Any]:
        """Counts as they are kept."""
        gaps = {kind: _spread(seconds) for kind, seconds in sorted(self.gaps_s.items())}
        counted = (
            "sent",
            "answered",
            "unreachable",
            "asked_again",
            "picked_up",
            "joined",
            "lost",
            "missing",
            "duplicated",
            "differing",
            "unsteady",
        )
        return {
            "kills": self.kills,
            "strikes": dict(sorted(self.strikes.items())),
            **{name: getattr(self, name) for name in counted},
            "failed": dict(sorted(self.failed.items())),
            "refused": dict(sorted(self.refused.items())),
            "gaps_s": gaps,
        }


def _spread(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)

    def at(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)

    return {"streams": len(ordered), "p50": at(0.5), "p99": at(0.99), "most": round(ordered[-1], 3)}
