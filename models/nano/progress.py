"""What a person sees of a training: a bar with the time left, and now and then the scores."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

_SMOOTHING = 0.98


class Progress:
    """The progress bar of one process; only the first one shows anything.

    Where the output is no terminal, it prints a line instead whenever there are scores.
    """

    def __init__(self, steps: int, start: int, *, shown: bool):
        self._console = Console(quiet=not shown, highlight=False)
        self._bar = Bar(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[losses]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not shown or not self._console.is_terminal,
        )
        self._task = self._bar.add_task("training", total=steps, completed=start, losses="")
        self._sums = [0.0, 0.0, 0.0]
        self._weight = 0.0

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def advance(self, answers: float, labels: float, names: float) -> None:
        """One step, with its losses."""
        keep = _SMOOTHING
        self._weight = keep * self._weight + 1 - keep
        self._sums = [
            keep * s + (1 - keep) * loss for s, loss in zip(self._sums, (answers, labels, names), strict=True)
        ]
        self._bar.update(self._task, advance=1, losses=self._losses)

    def report(self, step: int, scores: dict[str, float]) -> None:
        """Print the scores of a probe."""
        rows = "  ".join(f"{kind} {100 * score:.0f}%" for kind, score in scores.items())
        self._console.print(f"step {step}: {self._losses}  {rows}", soft_wrap=True)

    @property
    def _losses(self) -> str:
        answers, labels, names = (s / self._weight for s in self._sums)
        return f"loss {answers:.3f} (labels {labels:.3f}, names {names:.2f})"
