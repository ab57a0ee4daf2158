"""Starts a training: prepares its folder, and runs a process for each core or one for a GPU."""

from __future__ import annotations

import os
from multiprocessing import parent_process
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from models.nano.checkpoint import write_processor
from models.nano.curriculum import Maker, Split
from models.nano.recipe import Recipe, Stage
from models.nano.tokenizer import train_tokenizer
from models.nano.training import Place, refuse_another, train
from models.nano.voices import VoiceBank
from tessera.local.stack import free_port
from tessera.processes import end_with_parent

_TOKENIZER_EXAMPLES = 3000
_MOST_PROCESSES = 8  # more share a small batch among them than is worth it


def launch(folder: Path, recipe: Recipe) -> None:
    """Train in ``folder``, or go on where a training there was interrupted.

    Raises:
        ValueError: what is in ``folder`` is of another recipe.
    """
    refuse_another(folder, recipe)
    if not (folder / "config.json").exists():
        _prepare(folder)
    if torch.cuda.is_available():
        train(folder, recipe, Place(0, 1, torch.device("cuda")))
        return
    processes = min(torch.get_num_threads(), _MOST_PROCESSES)
    if processes == 1:
        train(folder, recipe, Place(0, 1, torch.device("cpu")))
        return
    # oneDNN compiles each shape of a multiplication once, if it does not forget the first ones over the last.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "100000")
    mp.start_processes(_run, (processes, free_port(), folder, recipe), nprocs=processes, start_method="spawn")


def _prepare(folder: Path) -> None:
    """The voices, the tokenizer and the other files that are not learnt."""
    maker = Maker(VoiceBank(folder), Split.TRAINING)
    texts: list[str] = []
    for seed in range(_TOKENIZER_EXAMPLES):
        example = maker.any_example(seed, Stage.ANSWERING)
        texts += [example.system, *(part for part in example.prompt if isinstance(part, str))]
        texts += [text for question in example.questions for text in (question.text, question.answer)]
    write_processor(folder, train_tokenizer(texts))


def _run(rank: int, processes: int, port: int, folder: Path, recipe: Recipe) -> None:
    end_with_parent()
    parent = parent_process()
    if parent is None or not parent.is_alive():  # it did not live to see this process begin
        return
    # More threads than cores in all are slower than one a process.
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=processes)
    try:
        train(folder, recipe, Place(rank, processes, torch.device("cpu")))
    finally:
        dist.destroy_process_group()
