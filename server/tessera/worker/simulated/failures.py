"""Faults that a request asks for, in its field ``simulate``."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import structlog
from pydantic import BaseModel, ConfigDict, Field

log = structlog.get_logger()


class RequestFailed(Exception):
    """The engine fails on this request alone."""


class Failures(BaseModel):
    """What goes wrong with a request, and when.

    A fault comes once this worker has made that many tokens of the answer, over all its choices; 0: before the first.
    A worker that goes on with what another one began is spared, unless ``again`` is set.
    """

    model_config = ConfigDict(extra="forbid")

    crash_after_tokens: int | None = Field(None, ge=0, description="The process dies, as by `kill -9`.")
    hang_after_tokens: int | None = Field(None, ge=0, description="The process stands still, for `hang_s`.")
    hang_s: float = Field(3600.0, gt=0, description="How long it does.")
    fail_after_tokens: int | None = Field(None, ge=0, description="The engine refuses to go on with the request.")
    slowness: int = Field(1, ge=1, le=1000, description="The request gets a token in every so-manieth step only.")
    again: bool = Field(False, description="Not only the first worker suffers.")

    @property
    def wanted(self) -> bool:
        """Whether something is to go wrong at all."""
        after = (self.crash_after_tokens, self.hang_after_tokens, self.fail_after_tokens)
        return any(tokens is not None for tokens in after)

    def check(self, made: int) -> None:
        """Let happen what is to happen after ``made`` tokens. Raises ``RequestFailed``."""
        self._once(self.crash_after_tokens, made, "simulated_crash", _crash)
        self._once(self.hang_after_tokens, made, "simulated_hang", lambda: time.sleep(self.hang_s))
        self._once(self.fail_after_tokens, made, "simulated_failure", _fail)

    def _once(self, after: int | None, made: int, event: str, happen: Callable[[], None]) -> None:
        if after is not None and made == after:
            log.warning(event, tokens=made)
            happen()


def _crash() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _fail() -> None:
    raise RequestFailed("The request asked for this failure (`simulate`).")
