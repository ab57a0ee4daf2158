"""What the model still reads and counts where an image may be fewer tokens: asked through the server, and drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from rich.table import Table

from models.nano.evaluation import Examiner, Score
from models.nano.rows import Row

# As a request says it of each image.
LIMITS: Mapping[str, Mapping[str, Any]] = {
    "16": {"max_visual_tokens": 16},
    "32": {"max_visual_tokens": 32},
    "low": {"detail": "low"},
    "64": {"max_visual_tokens": 64},
    "128": {"max_visual_tokens": 128},
    "256": {"max_visual_tokens": 256},
    "high": {"detail": "high"},
}
_SIZE_IN = (7.0, 4.0)


@dataclass(frozen=True)
class Point:
    """One row under one limit.

    Attributes:
        limit: of ``LIMITS``.
        tokens: of an image, on average, as the engine counted them.
    """

    limit: str
    tokens: float
    score: Score


async def measure(
    url: str, model: str, rows: Sequence[Row], examples: int, tell: Callable[[Point], None]
) -> list[Point]:
    """Ask the same questions under each limit.

    Args:
        url: of a gateway that serves the model.
        rows: questions with one image each.
        examples: of a row.
        tell: hears of each point when it is there.
    """
    points = []
    for limit, fields in LIMITS.items():
        for row in rows:
            examiner = Examiner(url, model, of_images=fields)
            [score] = await examiner.examine([row], examples, lambda _: None)
            points.append(Point(limit, examiner.image_tokens / examples, score))
            tell(points[-1])
    return points


def as_table(points: Sequence[Point]) -> Table:
    """The points as a person reads them."""
    table = Table("skill", "limit", "tokens of an image", "right", "of", "share", "95% interval")
    for point in points:
        low, high = point.score.interval
        table.add_row(
            point.score.row.name,
            point.limit,
            f"{point.tokens:.1f}",
            str(point.score.right),
            str(point.score.asked),
            f"{100 * point.score.share:.1f}%",
            f"{100 * low:.1f} … {100 * high:.1f}%",
        )
    return table


def save(points: Sequence[Point], path: Path) -> None:
    """Write the figures as JSON."""
    found = [
        {
            "skill": point.score.row.name,
            "limit": point.limit,
            "tokens": round(point.tokens, 1),
            "right": point.score.right,
            "asked": point.score.asked,
        }
        for point in points
    ]
    path.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2) + b"\n")


def draw(points: Sequence[Point], path: Path) -> None:
    """Write the plot, an SVG: the share of right answers by the tokens of an image, with its 95% interval."""
    import matplotlib

    matplotlib.use("svg")
    # So that the same figures are the same file.
    matplotlib.rcParams.update({"svg.hashsalt": "tessera", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=_SIZE_IN, layout="constrained")
    for name in dict.fromkeys(point.score.row.name for point in points):
        line = sorted((p for p in points if p.score.row.name == name), key=lambda p: p.tokens)
        shares = [100 * p.score.share for p in line]
        below = [share - 100 * p.score.interval[0] for share, p in zip(shares, line, strict=True)]
        above = [100 * p.score.interval[1] - share for share, p in zip(shares, line, strict=True)]
        axes.errorbar([p.tokens for p in line], shares, [below, above], label=name, marker="o", ms=3, lw=1, capsize=2)
    axes.set(xlabel="tokens of an image, on average", ylabel="right answers, %", xscale="log", ylim=(0, 100))
    axes.set_xticks([16, 32, 64, 128], ["16", "32", "64", "128"])
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
