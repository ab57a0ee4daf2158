"""What a process that decodes gives up before it sees the first byte of an upload."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import sysconfig
from pathlib import Path

import tessera
from tessera.media.sandbox import landlock, seccomp

_PR_SET_PDEATHSIG = 1
# Beside its socket and what comes through it: two threads' worth of what libraries open and close again.
_OPEN_FILES = 64


def die_with_parent(parent: int) -> None:
    """Have this process killed when the one that started it ends, however that ends.

    Args:
        parent: its id, as the parent itself saw it: it may have ended already.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def confine(*, memory_bytes: int, file_bytes: int, cpu_s: int) -> list[str]:
    """Confine this process for the rest of its life.

    It keeps its memory, its threads and its open descriptors; it can open files of Python and the system's libraries
    for reading, no other files, no sockets, start no processes, and reach none.

    Args:
        memory_bytes: address space that it may take beside what it has.
        file_bytes: largest file that it may write.
        cpu_s: CPU time that it may use.

    Returns:
        Names of what this kernel cannot do: ``landlock``, ``seccomp``.
    """
    _limit(resource.RLIMIT_AS, _address_space_bytes() + memory_bytes)
    _limit(resource.RLIMIT_FSIZE, file_bytes)
    _limit(resource.RLIMIT_CPU, cpu_s)
    _limit(resource.RLIMIT_NOFILE, _OPEN_FILES)
    _limit(resource.RLIMIT_CORE, 0)
    landlocked = landlock.restrict(_libraries())
    # Where nothing says which files may be read, none can be: what decoding needs was loaded before.
    filtered = seccomp.install(files=landlocked)
    return [name for name, there in (("landlock", landlocked), ("seccomp", filtered)) if not there]


def _limit(which: int, value: int) -> None:
    _, hard = resource.getrlimit(which)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(which, (value, value))


def _address_space_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def _libraries() -> list[Path]:
    """Where Python, its packages, this package and the system's libraries are."""
    python = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    shared = [Path(sys.base_prefix) / "lib", Path("/usr/lib"), Path("/usr/lib64"), Path("/lib"), Path("/lib64")]
    return [*map(Path, sorted(python)), Path(tessera.__file__).parent, *shared, Path("/etc/ld.so.cache")]
