"""The training loop: one process a core on a CPU, one with a GPU; resumable at any time."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.data import DataLoader

from models.nano.batches import Batch, Steps
from models.nano.checkpoint import load_processor, write_weights
from models.nano.curriculum import Maker, Split
from models.nano.encoding import Encoder
from models.nano.muon import Muon
from models.nano.network import new_model
from models.nano.objective import AuxiliaryHead, losses
from models.nano.probe import Probe
from models.nano.progress import Progress
from models.nano.recipe import Recipe, Stage
from models.nano.reduction import sum_over_processes
from models.nano.voices import VoiceBank
from tessera.worker import processor

STATE = "state.pt"
SAVE_EVERY_S = 180.0
PROBE_EVERY_STEPS = 500


@dataclass(frozen=True)
class Place:
    """Where one process of the training runs.

    Attributes:
        rank, processes: which one it is, and of how many.
        device: what it computes on.
    """

    rank: int
    processes: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether it is the one that saves and reports."""
        return self.rank == 0


def train(folder: Path, recipe: Recipe, place: Place) -> None:
    """Train in ``folder``, which holds the processor's files, from where it was interrupted; writes the weights there.

    Args:
        place: see ``Place``; with several processes, their process group is already there.

    Raises:
        ValueError: what is in ``folder`` is of another recipe.
    """
    refuse_another(folder, recipe)
    _quieten()
    encoder = Encoder(load_processor(folder))
    bank = VoiceBank(folder)
    torch.manual_seed(recipe.seed)
    model, head = new_model(folder).to(place.device), AuxiliaryHead().to(place.device)
    optimizers = _optimizers(model, head, recipe, place)
    start = _resume(folder, model, head, optimizers)
    if _compiles(place):
        for layer in (*model.visual.blocks, *model.model.layers):
            layer.compile(dynamic=True)
    parameters = [p for p in (*model.parameters(), *head.parameters()) if p.requires_grad]
    probe = Probe(Maker(bank, Split.HELD_OUT), encoder) if place.first else None
    steps = _steps(Maker(bank, Split.TRAINING), encoder, recipe, place, start)
    saved = time.monotonic()
    with Progress(recipe.steps, start, shown=place.first) as progress:
        for step, batches in zip(range(start, recipe.steps), steps, strict=True):
            progress.advance(*_step(model, head, optimizers, parameters, batches, recipe, step, place))
            if not place.first:
                continue
            assert probe is not None
            if (step + 1) % PROBE_EVERY_STEPS == 0 or step + 1 == recipe.steps:
                with precision(place.device):
                    progress.report(step + 1, probe.scores(model, head, place.device))
            if time.monotonic() - saved > SAVE_EVERY_S or step + 1 == recipe.steps:
                _save(folder, recipe, model, head, optimizers, step + 1)
                saved = time.monotonic()
    if place.first:
        write_weights(folder, {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()})


def precision(device: torch.device) -> AbstractContextManager[Any]:
    """bfloat16 where the processor computes with it, else float32."""
    return torch.autocast(device.type, torch.bfloat16) if _computes_in_bfloat16(device) else nullcontext()


def _computes_in_bfloat16(device: torch.device) -> bool:
    return device.type != "cpu" or processor.computes_in_bfloat16()


def _step(
    model: Any,
    head: AuxiliaryHead,
    optimizers: list[torch.optim.Optimizer],
    parameters: list[nn.Parameter],
    batches: list[Batch],
    recipe: Recipe,
    step: int,
    place: Place,
) -> list[float]:
    """One update from the batches of all processes.

    Returns:
        The mean losses of answers and labels, per token, and of names.
    """
    looking = recipe.stage(step) is Stage.LOOKING
    asked = [batch for batch in batches if not (looking and batch.has_media)]
    counts = torch.tensor(
        [
            sum(int((b.targets >= 0).sum()) for b in asked),
            sum(len(b.seen) + len(b.heard) for b in batches),
            sum(len(b.names) for b in asked),
        ],
        dtype=torch.float64,
    )
    if place.processes > 1:
        dist.all_reduce(counts)
    counts = counts.clamp(min=1)
    weights = (torch.tensor([1.0, recipe.label_weight, recipe.name_weight]) / counts).to(place.device)
    sums = torch.zeros(3, dtype=torch.float64)
    for batch in batches:
        with precision(place.device):
            lost = losses(model, head, batch.to(place.device), looking=looking)
            parts = torch.stack([lost.answers, lost.labels, lost.names])
        (parts * weights).sum().backward()
        sums += parts.detach().double().cpu()
    if place.processes > 1:
        _sum_gradients(parameters)
        dist.all_reduce(sums)
    nn.utils.clip_grad_norm_([p for p in parameters if p.grad is not None], recipe.clip)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * recipe.rate(step)
        optimizer.step()
        optimizer.zero_grad()
    means: list[float] = (sums / counts).tolist()
    return means


def _sum_gradients(parameters: list[nn.Parameter]) -> None:
    """Sum over the processes; a parameter that a process did not use counts as zero there."""
    gradients: list[Tensor] = []
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        gradients.append(parameter.grad)
    sum_over_processes(gradients)


def _optimizers(model: Any, head: AuxiliaryHead, recipe: Recipe, place: Place) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for all else."""
    matrices, others = [], list(head.parameters())
    for name, parameter in model.named_parameters():
        is_matrix = parameter.ndim == 2 and not any(part in name for part in ("embed", "lm_head", "token"))
        (matrices if is_matrix else others).append(parameter)
    muon = Muon(
        [{"params": matrices, "peak": recipe.matrix_rate}],
        lr=recipe.matrix_rate,
        weight_decay=recipe.weight_decay,
        dtype=torch.bfloat16 if _computes_in_bfloat16(place.device) else torch.float32,
        rank=place.rank,
        processes=place.processes,
    )
    adamw = torch.optim.AdamW(
        [{"params": others, "peak": recipe.other_rate}],
        lr=recipe.other_rate,
        betas=(0.9, 0.98),
        weight_decay=0.0,
    )
    return [muon, adamw]


def _steps(maker: Maker, encoder: Encoder, recipe: Recipe, place: Place, start: int) -> Iterator[list[Batch]]:
    data = Steps(maker, encoder, recipe, place.rank, place.processes)
    # On a CPU every core has its own process, which makes its own data; a GPU's process has the cores make it.
    workers = 0 if place.device.type == "cpu" else max(1, (os.cpu_count() or 2) - 1)
    loader = DataLoader(data, batch_size=None, sampler=range(start, recipe.steps), num_workers=workers)
    return iter(loader)


def _compiles(place: Place) -> bool:
    return place.device.type == "cuda" or shutil.which("g++") is not None


def _save(
    folder: Path,
    recipe: Recipe,
    model: Any,
    head: AuxiliaryHead,
    optimizers: list[torch.optim.Optimizer],
    step: int,
) -> None:
    state = {
        "recipe": asdict(recipe),
        "step": step,
        "model": model.state_dict(),
        "head": head.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
    }
    partial = folder / f".{STATE}.partial"
    torch.save(state, partial)
    partial.replace(folder / STATE)


def refuse_another(folder: Path, recipe: Recipe) -> None:
    """Look whether what is in the folder can go on with this recipe, without reading its weights.

    Raises:
        ValueError: it is of another one.
    """
    path = folder / STATE
    if not path.exists():
        return
    state = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
    if state["recipe"] | {"steps": 0} != asdict(recipe) | {"steps": 0}:
        raise ValueError(f"{path} is of another recipe: finish that training, or remove the folder to start anew")


def _resume(folder: Path, model: Any, head: AuxiliaryHead, optimizers: list[torch.optim.Optimizer]) -> int:
    """Load what an interrupted training left; returns the next step."""
    path = folder / STATE
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True, map_location="cpu")
    model.load_state_dict(state["model"])
    head.load_state_dict(state["head"])
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    return int(state["step"])


def _quieten() -> None:
    """Silence remarks about the configuration that do not concern a thinker alone."""
    from transformers.utils import logging

    logging.set_verbosity_error()
