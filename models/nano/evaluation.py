"""Asks a running server what the rows of the table ask, and counts the right answers."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import aiohttp
import orjson
from rich.table import Table

from models.nano.files import Json, messages
from models.nano.rows import Row

MAX_TOKENS = 64
_IN_FLIGHT = 16
_TIMEOUT_S = 120
_Z = 1.959964  # of a 95% interval


@dataclass(frozen=True)
class Mistake:
    """A wrong answer."""

    seed: int
    question: str
    expected: str
    answer: str


@dataclass(frozen=True)
class Score:
    """The outcome of one row."""

    row: Row
    asked: int
    mistakes: tuple[Mistake, ...]

    @property
    def right(self) -> int:
        """Number of right answers."""
        return self.asked - len(self.mistakes)

    @property
    def share(self) -> float:
        """Part of right answers."""
        return self.right / self.asked

    @property
    def met(self) -> bool:
        """Whether the row's target is reached."""
        return self.row.target is None or self.share >= self.row.target

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95% interval of the share (Wilson, 1927)."""
        n, p = self.asked, self.share
        centre = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
        half = _Z / (1 + _Z**2 / n) * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
        return centre - half, centre + half


class Examiner:
    """Asks a server.

    Args:
        url: of the gateway, such as ``http://127.0.0.1:8000``.
        model: name of the model.
        of_images: what each image's part says besides, such as ``detail``.

    Attributes:
        image_tokens: of all images so far, as the engine counted them.
    """

    def __init__(self, url: str, model: str, *, of_images: Mapping[str, Any] = MappingProxyType({})):
        self._url = f"{url}/v1/chat/completions"
        self._model = model
        self._of_images = of_images
        self.image_tokens = 0

    async def examine(self, rows: Sequence[Row], examples: int, tell: Callable[[Score], None]) -> list[Score]:
        """The scores of the rows, greedy answers to ``examples`` questions each; ``tell`` hears of each when done.

        Raises:
            RuntimeError: the server refused or failed a request.
        """
        scores = []
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            for row in rows:
                scores.append(await self._examine(session, row, examples))
                tell(scores[-1])
        return scores

    async def _examine(self, session: aiohttp.ClientSession, row: Row, examples: int) -> Score:
        mistakes: list[Mistake] = []
        waiting = row.questions(examples)

        async def ask_on() -> None:
            for seed, example, question in waiting:  # shared: each request goes to whoever is free
                answer, ended = await self._answer(session, messages(example, question, seed))
                if not (ended and question.accepts(answer)):
                    mistakes.append(Mistake(seed, question.text, question.answer, answer if ended else f"{answer} …"))

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(_IN_FLIGHT):
                    group.create_task(ask_on())
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return Score(row, examples, tuple(sorted(mistakes, key=lambda mistake: mistake.seed)))

    async def _answer(self, session: aiohttp.ClientSession, conversation: list[Json]) -> tuple[str, bool]:
        """What the model says, and whether it stopped by itself."""
        for part in conversation[-1]["content"]:
            if part["type"] == "image_url":
                holder = part["image_url"] if "detail" in self._of_images else part
                holder.update(self._of_images)
        body = {"model": self._model, "messages": conversation, "max_tokens": MAX_TOKENS, "temperature": 0}
        async with session.post(
            self._url, data=orjson.dumps(body), headers={"Content-Type": "application/json"}
        ) as response:
            if response.status != 200:
                raise RuntimeError(f"HTTP {response.status}: {await response.text()}")
            said = orjson.loads(await response.read())
        choice, details = said["choices"][0], said["usage"].get("prompt_tokens_details") or {}
        self.image_tokens += (details.get("multimodal_tokens") or {}).get("image", 0)
        return choice["message"]["content"] or "", choice["finish_reason"] == "stop"


def save(scores: Sequence[Score], path: Path) -> None:
    """Write the counts as JSON: by row, how many answers were right, and of how many."""
    counts = {score.row.name: {"right": score.right, "asked": score.asked} for score in scores}
    path.write_bytes(orjson.dumps(counts, option=orjson.OPT_INDENT_2) + b"\n")


def as_table(scores: Sequence[Score]) -> Table:
    """The scores as a person reads them."""
    table = Table("skill", "at least", "right", "of", "share", "95% interval")
    for score in scores:
        target = score.row.target
        low, high = score.interval
        table.add_row(
            score.row.name,
            "" if target is None else f"{100 * target:.0f}%",
            str(score.right),
            str(score.asked),
            f"[{'green' if score.met else 'red'}]{100 * score.share:.1f}%[/]",
            f"{100 * low:.1f} … {100 * high:.1f}%",
        )
    return table
