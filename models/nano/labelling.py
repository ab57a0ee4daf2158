"""What the auxiliary heads shall say of tokens: rows of zeros and ones, a column for each of ``vocabulary.LABELS``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.nano import configuration as c
from models.nano.example import Picture, Region, Span
from models.nano.vocabulary import ACROSS, DOWN, LABELS, NAMES

# A token is labelled with what covers at least this part of it, or has this part of itself in it.
_LEAST_COVER = 0.25
_INDEX = {label: index for index, label in enumerate(LABELS)}
_ACROSS, _DOWN = ([_INDEX[label] for label in labels] for labels in (ACROSS, DOWN))


def of_frames(frames: Sequence[Sequence[Region]], size: tuple[int, ...], grid: list[int]) -> Tensor:
    """What each token of a picture or clip shows: 1 where a region with the label covers enough of it.

    Args:
        frames: the regions of each.
        size: height and width in pixels.
        grid: time, height and width in patches.
    """
    time, rows, columns = grid[0], grid[1] // c.MERGE, grid[2] // c.MERGE
    labels = np.zeros((time, rows, columns, len(LABELS)), dtype=np.float32)
    for index, regions in enumerate(frames):
        for region in regions:
            left, top, right, bottom = region.box
            across = _cover(left / size[1] * columns, right / size[1] * columns, columns)
            down = _cover(top / size[0] * rows, bottom / size[0] * rows, rows)
            covered = np.outer(down, across) >= _LEAST_COVER
            for label in region.labels:
                labels[index // c.TEMPORAL_PATCH, :, :, _INDEX[label]][covered] = 1
    labels[..., _ACROSS] = _beyond((np.arange(columns) + 0.5) / columns)
    labels[..., _DOWN] = _beyond((np.arange(rows) + 0.5) / rows)[:, None]
    return torch.from_numpy(labels.reshape(-1, len(LABELS)))


def of_sound(spans: Sequence[Span], tokens: int) -> Tensor:
    """What is heard at each token of a sound."""
    labels = np.zeros((tokens, len(LABELS)), dtype=np.float32)
    for span in spans:
        covered = _cover(span.start * c.TOKENS_PER_SECOND, span.end * c.TOKENS_PER_SECOND, tokens) >= _LEAST_COVER
        for label in span.labels:
            labels[covered, _INDEX[label]] = 1
    return torch.from_numpy(labels)


def of_things(picture: Picture) -> dict[str, Tensor]:
    """What is true of each thing, by all that it alone in the picture is called: "red", "square", "red square"."""
    height, width = picture.pixels.shape[:2]
    called = [[*region.labels[:2], " ".join(region.labels[:2])] for region in picture.regions]
    times = Counter(name for names in called for name in names)
    things = {}
    for names, region in zip(called, picture.regions, strict=True):
        left, top, right, bottom = region.box
        labels = np.zeros(len(LABELS), dtype=np.float32)
        labels[[_INDEX[label] for label in region.labels]] = 1
        labels[_ACROSS] = _beyond(np.array((left + right) / 2 / width))
        labels[_DOWN] = _beyond(np.array((top + bottom) / 2 / height))
        things |= {name: torch.from_numpy(labels) for name in names if name in NAMES and times[name] == 1}
    return things


def _beyond(places: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Which of the parts in ``ACROSS`` and ``DOWN`` are passed at places from 0 to 1: (...) to (..., parts)."""
    return places[..., None] > np.arange(1, len(ACROSS) + 1) / (len(ACROSS) + 1)


def _cover(start: float, end: float, cells: int) -> np.ndarray[Any, Any]:
    """How much of each unit cell lies in the interval, or of the interval in the cell, whichever is more."""
    edges = np.arange(cells)
    inside = np.clip(np.minimum(edges + 1, end) - np.maximum(edges, start), 0, None)
    return np.maximum(inside, inside / max(1e-6, end - start))
