"""Command line: ``python -m models.nano check | train | evaluate | agree | tradeoff``; each has a ``--help``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from models.nano.recipe import Recipe
from models.nano.requirements import Missing, check

FOLDER = Path(__file__).parent
WORK = FOLDER / "work"
CHECKPOINT = FOLDER / "checkpoint"


def main() -> int:
    """Run one of the commands; returns the exit code."""
    arguments = _parser().parse_args()
    try:
        check(arguments.work)
    except Missing as error:
        print(error, file=sys.stderr)
        return 1
    if arguments.command == "check":
        return 0
    # Imported only now: torch, vLLM and Ray are slow to import, and neither --help nor the check needs them.
    from models.nano import commands

    try:
        return commands.COMMANDS[arguments.command](arguments)
    except commands.FAILURES as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m models.nano", description="The embedded model.")
    commands = parser.add_subparsers(dest="command", required=True)

    _add_work(commands.add_parser("check", help="look for what the other commands need of the machine"))

    train = commands.add_parser("train", help="train it from nothing, or go on after an interruption")
    train.add_argument("--steps", type=_positive, default=Recipe.steps, help="optimiser steps (default %(default)s)")
    train.add_argument("--seed", type=int, default=Recipe.seed, help="of the initial weights (default %(default)s)")
    train.add_argument("--out", type=Path, default=CHECKPOINT, help="where the checkpoint goes in the end")
    _add_work(train)

    evaluate = commands.add_parser("evaluate", help="ask a server held-out questions and print the table of scores")
    evaluate.add_argument("--examples", type=_positive, default=1000, help="a row (default %(default)s)")
    evaluate.add_argument("--mistakes", type=int, default=0, help="wrong answers to show of each row")
    evaluate.add_argument("--save", type=Path, help="also write the counts to this file, as JSON")
    evaluate.add_argument("--curve", action="store_true", help="also read letters of other heights")
    _add_checkpoint(evaluate)
    _add_work(evaluate)

    agree = commands.add_parser("agree", help="compare the server's tokens with those of transformers")
    agree.add_argument("--prompts", type=_positive, default=50, help="of each kind (default %(default)s)")
    agree.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    _add_checkpoint(agree)
    _add_work(agree)

    tradeoff = commands.add_parser("tradeoff", help="ask with fewer tokens an image, and plot what is right")
    tradeoff.add_argument("--examples", type=_positive, default=300, help="a row and limit (default %(default)s)")
    tradeoff.add_argument("--save", type=Path, help="also write the figures to this file, as JSON")
    tradeoff.add_argument("--plot", type=Path, help="also write the plot to this file, as SVG")
    _add_checkpoint(tradeoff)
    _add_work(tradeoff)
    return parser


def _add_work(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--work", type=Path, default=WORK, help="folder of the training's state and the voices")


def _add_checkpoint(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", type=_folder, default=CHECKPOINT, help="the model (default: the shipped one)")


def _folder(text: str) -> Path:
    path = Path(text).absolute()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {text}")
    return path


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not positive")
    return number


if __name__ == "__main__":
    sys.exit(main())
