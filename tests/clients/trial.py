"""What the script of one client library reports: each thing that it did with the server, a line of JSON each.

Scripts run in an environment of their client's alone, so this needs nothing but Python itself.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Trial:
    """Where the servers are and what to send them, and the functions that try something.

    Attributes:
        url, model: a server of a model that answers, sees, hears and calls tools; without ``/v1``.
        reader_url, reader: a server of a model that embeds.
        picture: of a red square, as a data URL.
        sound: of three beeps, a WAV in base64.
        folders: of the files of both models, for clients that count tokens themselves.
        blanks: a bias against tokens of white space, which this model may choose without end where a grammar lets it.
    """

    def __init__(self) -> None:
        told: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
        self.url: str = told["url"]
        self.model: str = told["model"]
        self.reader_url: str = told["reader_url"]
        self.reader: str = told["reader"]
        self.picture: str = told["picture"]
        self.sound: str = told["sound"]
        self.folders: dict[str, str] = told["folders"]
        self.blanks: dict[str, int] = told["blanks"]
        self._trials: dict[str, Callable[[], None]] = {}

    def of(self, capability: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
        """Register a function that tries a capability, and raises where it is not there."""

        def register(function: Callable[[], None]) -> Callable[[], None]:
            self._trials[capability] = function
            return function

        return register

    def run(self) -> None:
        """Try all, and print a line for each."""
        for capability, function in self._trials.items():
            try:
                function()
                fault = None
            except Exception:
                fault = traceback.format_exc()
            print(json.dumps({"capability": capability, "fault": fault}), flush=True)


def same(whole: str, pieces: list[str]) -> None:
    """Check that a stream came in several pieces, and is what comes at once."""
    assert whole
    assert "".join(pieces) == whole, (whole, pieces)
    assert len([piece for piece in pieces if piece]) > 1, pieces


def refused(kind: type[Exception], function: Callable[[], object]) -> Any:
    """The client's own error for what the server refuses."""
    try:
        function()
    except kind as refusal:
        return refusal
    raise AssertionError(f"{kind.__name__} was not raised")
