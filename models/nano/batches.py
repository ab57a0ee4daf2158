"""The examples of each training step, in packed batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from models.nano import configuration as c
from models.nano.curriculum import Maker
from models.nano.encoding import IGNORED, Encoded, Encoder, frames_after_convolution
from models.nano.example import Example
from models.nano.recipe import Recipe, Stage

_MOST_TOKENS = 4000  # of a batch; more need more memory and are not faster
# The tokens of an example, all tokens and patches of a batch, and its frames of sound are padded to a multiple of
# these: on a CPU, each new shape of a multiplication is compiled first, and the compiled ones fill the memory.
_EXAMPLE_ROUNDED_TO = 8
_BATCH_ROUNDED_TO = 256
_SOUND_ROUNDED_TO = 128
_DIALOGUES = 0.15  # share of examples whose questions are turns of one conversation


@dataclass(frozen=True)
class Batch:
    """Several examples one after the other; see ``Encoded``.

    Attributes:
        ids, targets: shape (1, tokens).
        positions: shape (3, 1, tokens).
        visible: for each example, and for the padding at the end, which of its tokens (row) sees which (column),
            shape (length, length).
        patches, grids, seen: of all pictures and clips.
        mel, mel_lengths, heard: of all sounds, (128, frames in all) and (sounds,).
        names, named: of all examples; the former as indices into the batch's tokens.
    """

    ids: Tensor
    targets: Tensor
    positions: Tensor
    visible: list[Tensor]
    patches: Tensor
    grids: Tensor
    seen: Tensor
    mel: Tensor
    mel_lengths: Tensor
    heard: Tensor
    names: Tensor
    named: Tensor

    @property
    def has_media(self) -> bool:
        """Whether there is anything to see or hear."""
        return len(self.grids) + len(self.mel_lengths) > 0

    def to(self, device: torch.device) -> Batch:
        """The batch on another device."""
        moved = {field.name: getattr(self, field.name) for field in fields(self)}
        visible = [mask.to(device) for mask in moved.pop("visible")]
        return Batch(visible=visible, **{name: value.to(device) for name, value in moved.items()})


class Steps(Dataset[list[Batch]]):
    """What each step learns from: item i is the batches of step i, a function of i and nothing else.

    Args:
        recipe: how many examples a step has, of all processes together, and which steps are of which stage.
        rank, processes: this process takes every ``processes``-th example, from ``rank`` on.
    """

    def __init__(self, maker: Maker, encoder: Encoder, recipe: Recipe, rank: int, processes: int):
        self._maker = maker
        self._encoder = encoder
        self._recipe = recipe
        self._rank = rank
        self._processes = processes

    def __getitem__(self, step: int) -> list[Batch]:
        """The batches of this process."""
        size = self._recipe.batch
        seeds = range(step * size + self._rank, (step + 1) * size, self._processes)
        stage = self._recipe.stage(step)
        examples = [self._maker.any_example(seed, stage) for seed in seeds]
        if stage is not Stage.LOOKING:
            return list(batches([self._asked(*made) for made in zip(examples, seeds, strict=True)]))
        parts = [example for example in examples if example.media], [e for e in examples if not e.media]
        return [
            batch
            for part in parts
            if part
            for batch in batches([self._encoder.encode(example, example.questions[:1]) for example in part])
        ]

    def _asked(self, example: Example, seed: int) -> Encoded:
        rng = np.random.default_rng((seed, 1))
        if example.question_first:  # the questions share nothing
            return self._encoder.encode(example, [example.questions[int(rng.integers(len(example.questions)))]])
        return self._encoder.encode(example, example.questions, one_dialogue=rng.random() < _DIALOGUES)


def batches(encoded: Sequence[Encoded]) -> Iterator[Batch]:
    """All of ``encoded``, in batches of a size that is fast."""
    group: list[Encoded] = []
    for one in encoded:
        if group and sum(e.length for e in group) + one.length > _MOST_TOKENS:
            yield _collate(group)
            group = []
        group.append(one)
    yield _collate(group)


def _collate(group: Sequence[Encoded]) -> Batch:
    mel = [frames for one in group for frames in one.mel]
    if mel:  # a blank sound, which is not used either
        missing = -sum(frames_after_convolution(frames.shape[1]) for frames in mel) % _SOUND_ROUNDED_TO
        mel.append(torch.zeros(c.MEL_BINS, 2 * (missing or _SOUND_ROUNDED_TO)))
    grids = [grid for one in group for grid in one.grids]
    patches = _join([one.patches for one in group])
    if missing := -len(patches) % _BATCH_ROUNDED_TO:  # a blank picture; its features are the last, and not used
        patches = functional.pad(patches, (0, 0, 0, missing))
        grids.append([1, c.MERGE, missing // c.MERGE])
    blanks = [-one.length % _EXAMPLE_ROUNDED_TO for one in group]
    starts = list(accumulate((one.length + blank for one, blank in zip(group, blanks, strict=True)), initial=0))
    tail = -starts[-1] % _BATCH_ROUNDED_TO

    def tokens(name: str, blank_value: int) -> Tensor:
        parts = [
            functional.pad(getattr(one, name), (0, blank), value=blank_value)
            for one, blank in zip(group, blanks, strict=True)
        ]
        return functional.pad(torch.cat(parts, dim=-1), (0, tail), value=blank_value)

    masks = [_visible(functional.pad(one.branch, (0, n), value=-1)) for one, n in zip(group, blanks, strict=True)]
    return Batch(
        tokens("ids", 0)[None],
        tokens("targets", IGNORED)[None],
        tokens("positions", 0)[:, None],
        [*masks, torch.eye(tail, dtype=torch.bool)],
        patches,
        torch.tensor(grids, dtype=torch.long),
        _join([one.seen for one in group]),
        torch.cat(mel, dim=1) if mel else torch.empty(c.MEL_BINS, 0),
        torch.tensor([frames.shape[1] for frames in mel], dtype=torch.long),
        _join([one.heard for one in group]),
        torch.cat([one.names + start for one, start in zip(group, starts, strict=False)]),
        torch.cat([one.named for one in group]),
    )


def _visible(branch: Tensor) -> Tensor:
    return torch.tril((branch[:, None] == branch) | (branch == 0))


def _join(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part for part in parts if len(part)] or list(parts[:1]))
