"""Command line: ``python -m models.tiny OUT_DIR [--seed N] [--force]``."""

import argparse
import time
from pathlib import Path

from models.tiny.checkpoint import DEFAULT_SEED, build, is_complete


def main() -> None:
    """Build the checkpoint and say in one line what was built."""
    parser = argparse.ArgumentParser(prog="python -m models.tiny", description=__doc__)
    parser.add_argument(
        "out_dir", type=Path, metavar="OUT_DIR", help="folder of the checkpoint; replaced if it is an older one"
    )
    parser.add_argument(
        "--seed", type=int, default=DEFAULT_SEED, help="seed of the random weights (default %(default)s)"
    )
    parser.add_argument("--force", action="store_true", help="build even if OUT_DIR is already up to date")
    arguments = parser.parse_args()
    started = time.perf_counter()
    fresh = arguments.force or not is_complete(arguments.out_dir, arguments.seed)
    summary = build(arguments.out_dir, seed=arguments.seed, force=arguments.force)
    verb = "built" if fresh else "already there:"
    print(f"{verb} {arguments.out_dir}: {summary} ({time.perf_counter() - started:.1f} s)")


if __name__ == "__main__":
    main()
