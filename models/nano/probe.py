"""A quick look at how well the model does while it is trained."""

from __future__ import annotations

from typing import Any

import torch

from models.nano.batches import batches
from models.nano.curriculum import KINDS, Maker
from models.nano.encoding import Encoder
from models.nano.objective import AuxiliaryHead, losses

_EXAMPLES = 40  # of each kind


class Probe:
    """A fixed set of held-out questions.

    A question counts as right if every token of its answer is the most likely one after the right ones before it: what
    greedy decoding would say, word by word, judged more strictly than the evaluation does.
    """

    def __init__(self, maker: Maker, encoder: Encoder):
        self._batches = {}
        for kind in KINDS:
            examples = [maker.example(kind, seed).sampled() for seed in range(_EXAMPLES)]
            self._batches[kind] = list(batches([encoder.encode(e, e.questions[:1]) for e in examples]))

    def scores(self, model: Any, head: AuxiliaryHead, device: torch.device) -> dict[str, float]:
        """Part of the questions answered rightly, by kind."""
        with torch.no_grad():
            right = {
                kind: [right for batch in kept for right in losses(model, head, batch.to(device)).right]
                for kind, kept in self._batches.items()
            }
        return {kind: sum(answers) / len(answers) for kind, answers in right.items()}
