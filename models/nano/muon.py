"""Muon, in the precision that the processor is fast in, and each matrix by one of the processes."""

from __future__ import annotations

from collections.abc import Iterable
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from models.nano.reduction import sum_over_processes

_MOMENTUM = 0.95
_ITERATIONS = 5
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_SMALLEST_NORM = 1e-7
_RMS = 0.2  # of AdamW's updates, roughly, before the learning rate


class Muon(torch.optim.Optimizer):
    """Momentum whose updates are made orthogonal (Jordan et al., 2024), as large as AdamW's (Liu et al., 2025).

    Like ``torch.optim.Muon(adjust_lr_fn="match_rms_adamw")``, which computes in bfloat16 everywhere: that takes 25
    times as long where the processor does not know it.

    Args:
        matrices: parameters of two dimensions, or groups of them; those without a gradient are left as they are,
            and must be the same in all processes.
        lr: learning rate.
        weight_decay: of the matrices, per step and learning rate.
        dtype: what updates are made orthogonal in.
        rank, processes: which process this is, and of how many.
    """

    def __init__(
        self,
        matrices: Iterable[Any],
        *,
        lr: float,
        weight_decay: float,
        dtype: torch.dtype,
        rank: int = 0,
        processes: int = 1,
    ):
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay})
        self._dtype = dtype
        self._rank = rank
        self._owners = _owners([matrix for group in self.param_groups for matrix in group["params"]], processes)
        self._processes = processes

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # no closure
        """Update the matrices."""
        matrices = [
            (matrix, group) for group in self.param_groups for matrix in group["params"] if matrix.grad is not None
        ]
        updates = [self._update(matrix) for matrix, _ in matrices]
        if self._processes > 1:
            sum_over_processes(updates)
        for (matrix, group), update in zip(matrices, updates, strict=True):
            matrix.mul_(1 - group["lr"] * group["weight_decay"])
            matrix.add_(update, alpha=-group["lr"] * _RMS * sqrt(max(matrix.shape)))

    def _update(self, matrix: Tensor) -> Tensor:
        """Nothing for a matrix of another process; its momentum is the same in all."""
        state = self.state[matrix]
        if not state:
            state["momentum"] = torch.zeros_like(matrix)
        momentum = state["momentum"]
        momentum.lerp_(matrix.grad, 1 - _MOMENTUM)
        if self._owners[matrix] != self._rank:
            return torch.zeros_like(matrix)
        return orthogonal(matrix.grad.lerp(momentum, _MOMENTUM).to(self._dtype)).to(matrix.dtype)


def orthogonal(matrix: Tensor) -> Tensor:
    """A matrix with the singular vectors of ``matrix``, whose singular values are about one (0.7 to 1.2).

    Those that are next to nothing beside the largest stay below that.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / wide.norm().clamp(min=_SMALLEST_NORM)
    a, b, c = _COEFFICIENTS
    for _ in range(_ITERATIONS):  # Newton and Schulz's
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T


def _owners(matrices: Iterable[Tensor], processes: int) -> dict[Tensor, int]:
    """Which process computes the update of each, so that all have about as much to do."""
    loads = [0] * processes
    owners = {}
    for matrix in sorted(matrices, key=_cost, reverse=True):
        owners[matrix] = loads.index(min(loads))
        loads[owners[matrix]] += _cost(matrix)
    return owners


def _cost(matrix: Tensor) -> int:
    return matrix.numel() * min(matrix.shape)
