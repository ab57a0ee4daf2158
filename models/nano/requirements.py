"""What the generator and the training need of the machine."""

from __future__ import annotations

import shutil
from pathlib import Path

from models.nano import canvas

_FREE_BYTES = 1 << 30
_INSTALL = "apt-get install -y espeak-ng fonts-dejavu-core fonts-liberation"


class Missing(Exception):
    """Something that training needs is not there; the message says in one line what, and how to get it."""


def check(folder: Path) -> None:
    """Look for everything that is needed.

    Args:
        folder: where the voices, and the state of a training, are kept.

    Raises:
        Missing: it is not there.
    """
    if shutil.which("espeak-ng") is None:
        raise Missing(f"espeak-ng is missing, which speaks the digits: {_INSTALL}")
    if missing := canvas.missing_fonts():
        raise Missing(f"The font {missing[0]} is missing: {_INSTALL}")
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < _FREE_BYTES:
        raise Missing(f"{folder} has {free >> 20} MiB of disk left, 1024 are needed: free some, or use --work.")
