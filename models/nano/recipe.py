"""How the shipped model is trained: everything that decides the outcome, apart from the data itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Stage(IntEnum):
    """Of the training, in order.

    LOOKING: the towers learn from labels alone, and the language model from text alone. A question teaches little
    before what it asks about can be told apart, and without questions a step takes little more than half the time.
    ANSWERING: all media are asked about.
    ANNEALING: the learning rates fall to nothing, and what is still weak is asked more often.
    """

    LOOKING = 0
    ANSWERING = 1
    ANNEALING = 2


@dataclass(frozen=True)
class Recipe:
    """The numbers of one training.

    Attributes:
        steps: optimiser steps.
        looking: the first of these, which are of that stage.
        batch: examples a step, of all processes together.
        matrix_rate: learning rate of the weight matrices, which Muon updates.
        other_rate: of everything else, which AdamW updates.
        warmup: steps in which the rates rise.
        annealing: part of the steps, at the end, that is of that stage.
        weight_decay: of the matrices.
        label_weight: of the loss of what media tokens show, against the answers' loss.
        name_weight: of the loss of what names mean, against the answers' loss.
        clip: largest norm of the gradient; a greater one is scaled down.
        seed: of the initial weights; the data of a step depends on the step alone.
    """

    steps: int = 15000
    looking: int = 6500
    batch: int = 32
    matrix_rate: float = 2e-3
    other_rate: float = 2e-3
    warmup: int = 150
    annealing: float = 0.3
    weight_decay: float = 0.02
    label_weight: float = 0.5
    name_weight: float = 0.1
    clip: float = 1.0
    seed: int = 1

    def rate(self, step: int) -> float:
        """Factor of the learning rates: up, level, and down to nothing (warm-up, stable, decay)."""
        falling = self.steps * self.annealing
        return min(1.0, (step + 1) / self.warmup, (self.steps - step) / falling)

    def stage(self, step: int) -> Stage:
        """Which stage a step is of."""
        if step < self.looking:
            return Stage.LOOKING
        return Stage.ANSWERING if self.steps - step > self.steps * self.annealing else Stage.ANNEALING
