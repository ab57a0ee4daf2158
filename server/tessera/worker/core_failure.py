"""Why vLLM's engine core did not start, such as that a model does not fit.

The core is a process of its own. What its parent hears is that it failed, and to look above in the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tessera.worker.bridge import vllm_name


@contextmanager
def explained() -> Iterator[None]:
    """While it lasts, cores that are started note why they fail.

    Raises:
        RuntimeError: one did not start; with its own reason where it had the time to say it.
    """
    core = vllm_name("EngineCoreProc")
    original = core.__dict__["run_engine_core"]
    with TemporaryDirectory(prefix="t-") as folder:
        note = Path(folder) / "reason"
        core.run_engine_core = staticmethod(partial(run_core, str(note)))
        try:
            yield
        except RuntimeError as error:
            if not note.exists():
                raise
            raise RuntimeError(f"vLLM's engine did not start. {note.read_text()}") from error
        finally:
            core.run_engine_core = original


def run_core(note: str, *args: Any, **kwargs: Any) -> None:
    """What such a core's process does."""
    noting(note, vllm_name("EngineCoreProc").run_engine_core, *args, **kwargs)


def noting(note: str, run: Callable[..., None], *args: Any, **kwargs: Any) -> None:
    """Run something that may fail, and write down why."""
    try:
        run(*args, **kwargs)
    except Exception as error:
        with suppress(OSError):  # it had started long ago, and nobody waits for that any more
            Path(note).write_text(f"{type(error).__name__}: {error}")
        raise
