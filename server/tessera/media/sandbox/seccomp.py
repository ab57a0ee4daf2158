"""A filter of system calls (seccomp): what decoding needs is let through, all else fails with ``EPERM``.

Numbers are those of Linux' ``asm/unistd_64.h`` (x86-64) and ``asm-generic/unistd.h`` (AArch64).
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
from dataclasses import dataclass

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _MODE_FILTER = 38, 22, 2

# Instructions of classic BPF, as `linux/bpf_common.h` has them.
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
# Offsets in `struct seccomp_data`; the low half of the first argument, both machines being little-endian.
_NUMBER, _MACHINE, _ARGUMENT = 0, 4, 16
_ALLOW, _FAIL, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_CLONE_THREAD = 0x10000


@dataclass(frozen=True, slots=True)
class _Machine:
    audit: int
    clone: int
    clone3: int
    column: int


_MACHINES = {"x86_64": _Machine(0xC000003E, 56, 435, 0), "aarch64": _Machine(0xC00000B7, 220, 435, 1)}

# By machine; None where it has no such call. Memory, time, threads of the process itself, and descriptors that it has.
_CALLS: dict[str, tuple[int | None, int | None]] = {
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "fstat": (5, 80), "lseek": (8, 62), "pread64": (17, 67),
    "pwrite64": (18, 68), "readv": (19, 65), "writev": (20, 66), "fcntl": (72, 25), "ftruncate": (77, 46),
    "poll": (7, None), "ppoll": (271, 73), "sendto": (44, 206), "recvfrom": (45, 207), "sendmsg": (46, 211),
    "recvmsg": (47, 212),
    "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "brk": (12, 214), "madvise": (28, 233),
    "mremap": (25, 216), "membarrier": (324, 283),
    "futex": (202, 98), "set_robust_list": (273, 99), "rseq": (334, 293), "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123), "gettid": (186, 178), "getpid": (39, 172), "exit": (60, 93),
    "exit_group": (231, 94), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132), "restart_syscall": (219, 128),
    "clock_gettime": (228, 113), "clock_getres": (229, 114), "clock_nanosleep": (230, 115), "nanosleep": (35, 101),
    "gettimeofday": (96, 169), "getrandom": (318, 278), "getrusage": (98, 165), "sysinfo": (99, 179),
    "uname": (63, 160),
    # By which the C library asks about open files, too; it tells no more than which paths exist.
    "newfstatat": (262, 79),
}  # fmt: skip
# What libraries that are loaded late need, where something else says which files may be read.
_FILE_CALLS: dict[str, tuple[int | None, int | None]] = {
    "open": (2, None), "openat": (257, 56), "stat": (4, None), "lstat": (6, None), "statx": (332, 291),
    "access": (21, None), "faccessat": (269, 48), "faccessat2": (439, 439),
    "readlink": (89, None), "readlinkat": (267, 78), "getdents64": (217, 61), "getcwd": (79, 17),
}  # fmt: skip


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def install(*, files: bool) -> bool:
    """Filter the calls of this thread and of all that it starts, for ever.

    Args:
        files: files may be opened; otherwise none can.

    Returns:
        Whether this kernel and machine can.
    """
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        return False
    program = _assemble(machine, files=files)
    instructions = ctypes.create_string_buffer(program, len(program))
    filter_ = _Program(len(program) // 8, ctypes.addressof(instructions))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return False
    return bool(libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(filter_), 0, 0) == 0)


def _assemble(machine: _Machine, *, files: bool) -> bytes:
    calls = {**_CALLS, **_FILE_CALLS} if files else _CALLS
    allowed = sorted(number for row in calls.values() if (number := row[machine.column]) is not None)
    code = [
        _instruction(_LOAD, _MACHINE),
        _instruction(_EQUAL, machine.audit, no=_to_end(4 + len(allowed), _END_KILL)),
        _instruction(_LOAD, _NUMBER),
    ]
    for left, number in zip(range(len(allowed) - 1, -1, -1), allowed, strict=True):
        code.append(_instruction(_EQUAL, number, yes=_to_end(4 + left, _END_ALLOW)))
    # The older call starts threads, but no processes; the newer one hides its flags, and who is told that it does not
    # exist falls back to the older.
    code += [
        _instruction(_EQUAL, machine.clone3, yes=_to_end(3, _END_UNKNOWN)),
        _instruction(_EQUAL, machine.clone, no=_to_end(2, _END_DENY)),
        _instruction(_LOAD, _ARGUMENT),
        _instruction(_ANY_BIT, _CLONE_THREAD, yes=_to_end(0, _END_ALLOW), no=_to_end(0, _END_DENY)),
    ]
    ends = {_END_ALLOW: _ALLOW, _END_DENY: _FAIL | errno.EPERM, _END_UNKNOWN: _FAIL | errno.ENOSYS, _END_KILL: _KILL}
    return b"".join(code) + b"".join(_instruction(_RETURN, ends[place]) for place in sorted(ends))


# The returns at the end of the program, in their order.
_END_ALLOW, _END_DENY, _END_UNKNOWN, _END_KILL = range(4)


def _to_end(between: int, place: int) -> int:
    """How far to jump to a return, over that many instructions in front of the returns."""
    return between + place


def _instruction(code: int, operand: int, *, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, operand)
