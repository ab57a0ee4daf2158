"""One request on its way: when its tokens came, and what was done meanwhile to the parts that it depends on."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf

# What was on its way when a worker died still comes after that.
IN_THE_PIPE_S = 0.5


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault.

    Attributes:
        kind: what was done.
        at_s: when, by the event loop's time.
        counts: Redis was well then; just after an outage nothing is taken from workers that seem to be silent.
    """

    kind: str
    at_s: float
    counts: bool = True


@dataclass(slots=True)
class Flight:
    """A request between its sending and its end.

    Attributes:
        gateway: number of the gateway that it goes through.
        arrivals: when its events came, by the event loop's time.
        strikes: faults that it had to survive, in any order.
    """

    gateway: int = -1
    arrivals: list[float] = field(default_factory=list)
    strikes: list[Strike] = field(default_factory=list)

    def gaps(self) -> list[tuple[str, float]]:
        """Kind of each fault, and the time from it to the next token, in seconds.

        Faults that were followed by another one before the next token are left out: the time would be that of both.
        """
        found = []
        strikes = sorted(self.strikes, key=lambda strike: strike.at_s)
        next_s = [strike.at_s for strike in strikes[1:]] + [inf]
        for strike, after_s in zip(strikes, next_s, strict=False):
            resumed_s = self._resumed(strike.at_s)
            if strike.counts and resumed_s is not None and resumed_s <= after_s:
                found.append((strike.kind, resumed_s - strike.at_s))
        return found

    def _resumed(self, at_s: float) -> float | None:
        """When tokens came again: the end of the longest silence that began about then."""
        first = max(0, bisect_right(self.arrivals, at_s) - 1)
        last = bisect_right(self.arrivals, at_s + IN_THE_PIPE_S)
        silences = [(b - a, b) for a, b in pairwise(self.arrivals[first : last + 1]) if b > at_s]
        return max(silences)[1] if silences and self.arrivals[first] <= at_s else None


def flights_of(flights: Mapping[str, Flight], jobs: Iterable[str]) -> list[Flight]:
    """The requests that became these jobs, of those under way by the ids that they were sent with."""
    return [flight for request_id, flight in flights.items() if any(job.startswith(request_id) for job in jobs)]
