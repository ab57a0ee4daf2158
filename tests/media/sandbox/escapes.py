"""``python -m tests.media.sandbox.escapes``: confines itself, tries everything that it should not be able to do, and
prints what came of each as JSON. With ``--without-landlock`` it does so as on a kernel that has none."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from tessera.media.sandbox import confinement, landlock

MIB = 1024 * 1024
MEMORY_BYTES = 256 * MIB
FILE_BYTES = 8 * MIB
_PTRACE, _BPF, _UNSHARE, _MOUNT, _IO_URING = 101, 321, 272, 165, 425


def _call(number: int, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, *map(ctypes.c_long, arguments)) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def _thread() -> None:
    done = []
    thread = threading.Thread(target=lambda: done.append(1))
    thread.start()
    thread.join()
    assert done


def _write(descriptor: int) -> None:
    os.ftruncate(descriptor, FILE_BYTES + 1)


def attempts(memory_file: int) -> dict[str, Callable[[], object]]:
    return {
        "an internet socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
        "a datagram socket": lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM),
        "a Unix socket": lambda: socket.socket(socket.AF_UNIX),
        "a pair of sockets": socket.socketpair,
        "reading the users": lambda: Path("/etc/passwd").read_text(),
        "reading this test": lambda: Path(__file__).read_text(),
        "reading its environment": lambda: Path("/proc/self/environ").read_bytes(),
        "reading its parent's environment": lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
        "reading a device": lambda: Path("/dev/urandom").open("rb").read(1),
        "listing the root": lambda: os.listdir("/"),
        "listing temporary files": lambda: os.listdir("/tmp"),
        "writing a file": lambda: Path("/tmp/tessera-escaped").write_text("x"),
        "writing a library": lambda: Path(os.__file__).open("ab"),
        "removing a file": lambda: Path("/tmp/tessera-nothing").unlink(),
        "a process": _fork,
        "a program": lambda: os.execv("/bin/true", ["true"]),
        "a signal to its parent": lambda: os.kill(os.getppid(), 0),
        "debugging its parent": lambda: _call(_PTRACE, 16, os.getppid(), 0, 0),
        "a name space": lambda: _call(_UNSHARE, 0x10000000),
        "mounting": lambda: _call(_MOUNT, 0, 0, 0, 0, 0),
        "a program in the kernel": lambda: _call(_BPF, 0, 0, 0),
        "io_uring": lambda: _call(_IO_URING, 8, 0),
        "more memory": lambda: bytearray(2 * MEMORY_BYTES),
        "a larger file": lambda: _write(memory_file),
        "a thread": _thread,
        "some memory": lambda: bytearray(MEMORY_BYTES // 4),
    }


def main() -> None:
    if "--without-landlock" in sys.argv:
        landlock.restrict = lambda readable: False
    memory_file = os.memfd_create("test")
    tried = attempts(memory_file)
    missing = confinement.confine(memory_bytes=MEMORY_BYTES, file_bytes=FILE_BYTES, cpu_s=30)
    results = {"missing": missing}
    for name, attempt in tried.items():
        try:
            attempt()
            results[name] = "done"
        except (OSError, MemoryError) as error:
            results[name] = type(error).__name__
    print(json.dumps(results))


if __name__ == "__main__":
    main()
