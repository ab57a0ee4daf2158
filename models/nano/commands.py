"""What the command line does."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

import aiohttp
import torch
from rich.console import Console

from models.nano import agreement, evaluation
from models.nano import tradeoff as figures
from models.nano.checkpoint import export
from models.nano.launch import launch
from models.nano.recipe import Recipe
from models.nano.rows import reading_curve, table
from models.nano.rows import tradeoff as rows_of_tradeoff
from models.nano.voices import VoiceBank
from tessera.local.stack import Stack, StartFailed
from tessera.local.up import ended_by_signals, started
from tessera.settings import EMBEDDED_ENGINE_ARGS, Settings
from tessera.worker.processor import computes_in_bfloat16

FAILURES = (ValueError, StartFailed, RuntimeError, aiohttp.ClientError)


def train(arguments: argparse.Namespace) -> int:
    """Train, and put the checkpoint where it belongs."""
    launch(arguments.work, replace(Recipe(), steps=arguments.steps, seed=arguments.seed))
    export(arguments.work, arguments.out)
    print(f"The checkpoint is in {arguments.out}. `make nano-eval` shows how good it is.")
    return 0


def evaluate(arguments: argparse.Namespace) -> int:
    """Print the table; fails if a target is missed."""
    scores = asyncio.run(_evaluate(arguments))
    if arguments.save is not None:
        evaluation.save(scores, arguments.save)
    return 0 if all(score.met for score in scores) else 1


def tradeoff(arguments: argparse.Namespace) -> int:
    """Print the table, and write figures and plot where they are asked for."""
    points = asyncio.run(_tradeoff(arguments))
    if arguments.save is not None:
        figures.save(points, arguments.save)
    if arguments.plot is not None:
        figures.draw(points, arguments.plot)
    return 0


def agree(arguments: argparse.Namespace) -> int:
    """Print the comparison; in float32, fails if anything differs."""
    agreements = asyncio.run(_agree(arguments))
    return 0 if arguments.dtype != "float32" or not any(one.differences for one in agreements) else 1


async def _evaluate(arguments: argparse.Namespace) -> list[evaluation.Score]:
    console = Console(highlight=False)
    rows = [*table(VoiceBank(arguments.work)), *(reading_curve() if arguments.curve else ())]

    def tell(score: evaluation.Score) -> None:
        console.print(f"{score.row.name}: {score.right} of {score.asked}")
        for mistake in score.mistakes[: arguments.mistakes]:
            console.print(f"    {mistake}", markup=False, soft_wrap=True)

    scores: list[evaluation.Score] = []
    with ended_by_signals():
        fast = "" if computes_in_bfloat16() else "--dtype float32"  # as the embedded model is served
        async with _serving(str(arguments.checkpoint), console, fast) as stack:
            scores = await evaluation.Examiner(stack.url, stack.model).examine(rows, arguments.examples, tell)
    console.print(evaluation.as_table(scores))
    return scores


async def _tradeoff(arguments: argparse.Namespace) -> list[figures.Point]:
    console = Console(highlight=False)
    rows = rows_of_tradeoff(VoiceBank(arguments.work))

    def tell(point: figures.Point) -> None:
        score = point.score
        console.print(f"{point.limit}, {score.row.name}: {score.right} of {score.asked}, {point.tokens:.1f} tokens")

    points: list[figures.Point] = []
    with ended_by_signals():
        fast = "" if computes_in_bfloat16() else "--dtype float32"  # as the embedded model is served
        async with _serving(str(arguments.checkpoint), console, fast) as stack:
            points = await figures.measure(stack.url, stack.model, rows, arguments.examples, tell)
    console.print(figures.as_table(points))
    return points


async def _agree(arguments: argparse.Namespace) -> list[agreement.Agreement]:
    console = Console(highlight=False)
    reference = agreement.Reference(arguments.checkpoint, getattr(torch, arguments.dtype))
    agreements: list[agreement.Agreement] = []
    with ended_by_signals():
        async with (
            aclosing(reference),
            _serving(str(arguments.checkpoint), console, f"--dtype {arguments.dtype}") as stack,
        ):
            bank = VoiceBank(arguments.work)
            agreements = await agreement.compare(stack.url, stack.model, reference, bank, arguments.prompts)
    for one in agreements:
        for said, expected in one.differences:
            console.print(f"{one.kind}: server {said!r}, transformers {expected!r}", markup=False, soft_wrap=True)
    console.print(agreement.as_table(agreements))
    return agreements


@asynccontextmanager
async def _serving(checkpoint: str, console: Console, engine_args: str = "") -> AsyncIterator[Stack]:
    """The whole server with this checkpoint, on a free port."""
    settings = Settings(
        host="127.0.0.1",
        port=0,
        model=checkpoint,
        engine_args=f"{EMBEDDED_ENGINE_ARGS} {engine_args}",
    )
    async with started(settings, console, verbose=False) as stack:
        yield stack


COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "train": train,
    "evaluate": evaluate,
    "agree": agree,
    "tradeoff": tradeoff,
}
