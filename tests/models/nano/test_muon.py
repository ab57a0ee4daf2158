"""Our Muon is PyTorch's, but for the precision and for who computes which matrix."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from models.nano.muon import Muon, orthogonal
from tessera.local.stack import free_port

SHAPES = ((24, 24), (16, 48), (48, 16), (64, 8), (8, 8))
RATES = {"lr": 0.02, "weight_decay": 0.1}
STEPS = 4


def matrices() -> list[Tensor]:
    random = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=random).requires_grad_() for shape in SHAPES]


def stepped(optimizer: torch.optim.Optimizer, learning: list[Tensor]) -> list[Tensor]:
    """The matrices after a few steps."""
    random = torch.Generator().manual_seed(2)
    for _ in range(STEPS):
        for matrix in learning:
            matrix.grad = 0.01 * torch.randn(matrix.shape, generator=random)
        optimizer.step()
    return [matrix.detach() for matrix in learning]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 1e-6), (torch.float32, 2e-3)])
def test_it_updates_as_that_of_pytorch(dtype, tolerance):
    ours, theirs = matrices(), matrices()
    expected = stepped(torch.optim.Muon(theirs, adjust_lr_fn="match_rms_adamw", **RATES), theirs)
    for matrix, other, start in zip(stepped(Muon(ours, dtype=dtype, **RATES), ours), expected, matrices(), strict=True):
        assert (other - start).abs().max() > 0.01
        torch.testing.assert_close(matrix, other, rtol=0, atol=tolerance)


@pytest.mark.parametrize("shape", [(16, 96), (96, 16)])
def test_an_orthogonal_matrix_has_singular_values_of_about_one(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    matrix[:, 0] *= 10
    values = torch.linalg.svdvals(orthogonal(matrix))
    assert values.shape == (min(shape),)
    assert values.min() > 0.6
    assert values.max() < 1.25


def test_a_matrix_without_a_gradient_is_left_alone():
    learning = matrices()
    for matrix in learning[1:]:
        matrix.grad = torch.ones_like(matrix)
    Muon(learning, dtype=torch.float32, **RATES).step()
    assert torch.equal(learning[0], matrices()[0])
    assert not torch.equal(learning[1], matrices()[1])


def test_no_gradient_at_all_moves_nothing_but_by_the_decay():
    learning = matrices()
    for matrix in learning:
        matrix.grad = torch.zeros_like(matrix)
    Muon(learning, dtype=torch.float32, **RATES).step()
    for matrix, start in zip(learning, matrices(), strict=True):
        torch.testing.assert_close(matrix, start * (1 - 0.02 * 0.1))


def _step_together(rank: int, processes: int, port: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=processes)
    learning = matrices()
    optimizer = Muon(learning, dtype=torch.float32, rank=rank, processes=processes, **RATES)
    torch.save(stepped(optimizer, learning), folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_processes_share_the_work_and_end_with_the_same(tmp_path):
    mp.start_processes(_step_together, (2, free_port(), tmp_path), nprocs=2, start_method="spawn")
    alone = matrices()
    expected = stepped(Muon(alone, dtype=torch.float32, **RATES), alone)
    for rank in range(2):
        for matrix, other in zip(torch.load(tmp_path / f"{rank}.pt"), expected, strict=True):
            assert torch.equal(matrix, other)
