"""``python -m tessera.media.sandbox.fork_server SOCKET PARENT``: has loaded what decoding needs, and forks.

A process that is forked from it can decode after a millisecond, where one of its own would load libraries for a
second. It sees no uploads. The gateway tells it by messages on a socket what to do:

- settings of the media stage, once, first; answered when all is loaded.
- ``fork``, with a socket beside it for the new process; answered with its id.
- ``kill`` and an id. Only its parent knows for sure that a process has not ended and its id gone to another.

It says by itself which process has ended, and how.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import orjson

from tessera.media.sandbox import child
from tessera.media.sandbox.confinement import die_with_parent
from tessera.media.sandbox.warm_up import warm_up
from tessera.settings import Settings

_MAX_MESSAGE_BYTES = 64 * 1024
_AUTOGROUP = Path("/proc/self/autogroup")
_NICE = 10
# Who may not do as he likes may ask for this ten times a second, all of a machine's sessions together.
_ASKED, _ASK_AGAIN_S = 5, 0.15


class ForkServer:
    """Serves one gateway.

    Args:
        control: the socket that it speaks over.
        settings: for the processes.
    """

    def __init__(self, control: socket.socket, settings: Settings):
        self._control = control
        self._settings = settings
        self._children: set[int] = set()

    def run(self) -> None:
        """Serve until the gateway closes the socket."""
        signalled, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while True:
            ready, _, _ = select.select([self._control.fileno(), signalled], [], [])
            if signalled in ready:
                os.read(signalled, 4096)
                self._bury()
            if self._control.fileno() in ready:
                message, sockets, _, _ = socket.recv_fds(self._control, _MAX_MESSAGE_BYTES, 1)
                if not message:
                    return
                self._obey(orjson.loads(message), sockets)

    def _obey(self, order: dict[str, Any], sockets: list[int]) -> None:
        if "kill" in order:
            if order["kill"] in self._children:
                os.kill(order["kill"], signal.SIGKILL)
            return
        (channel,) = sockets
        parent = os.getpid()
        identity = os.fork()
        if identity == 0:
            self._become_child(channel, parent)
        os.close(channel)
        self._children.add(identity)
        self._say({"forked": identity})

    def _become_child(self, channel: int, parent: int) -> NoReturn:
        try:
            die_with_parent(parent)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _keep_only(channel)
            child.serve(socket.socket(fileno=channel), self._settings)
        finally:
            # Neither return into the fork server's loop, nor run what it has registered for its own end.
            os._exit(1)

    def _bury(self) -> None:
        with suppress(ChildProcessError):
            while True:
                identity, status = os.waitpid(-1, os.WNOHANG)
                if not identity:
                    return
                self._children.discard(identity)
                self._say({"ended": identity, "status": os.waitstatus_to_exitcode(status)})

    def _say(self, message: dict[str, int]) -> None:
        self._control.send(orjson.dumps(message))


def _keep_only(channel: int) -> None:
    """Close all descriptors but one, and point the standard ones nowhere: codecs print to them."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nowhere, standard)
    os.closerange(3, channel)
    os.closerange(channel + 1, os.sysconf("SC_OPEN_MAX"))


def stand_behind() -> None:
    """Let the gateway, and what else serves requests on this machine, run before these processes.

    Woken like others they would interrupt the gateway's event loop, and with it every stream, for milliseconds; and
    while they compute, one for each core, it would wait longer for its turn. Of a core that others want as well, they
    get a tenth of what another process gets; what nobody else wants is theirs.
    """
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        os.nice(_NICE)
    if os.getsid(0) == os.getpid():
        _have_session_stand_behind()


def _have_session_stand_behind() -> None:
    """Outside of containers Linux shares a core among sessions (autogroups), whatever is nice within each of them."""
    for _ in range(_ASKED):
        try:
            _AUTOGROUP.write_text(str(_NICE))
        except BlockingIOError:
            time.sleep(_ASK_AGAIN_S)
        except OSError:  # this kernel has none
            return
        else:
            return


def main() -> None:
    """Entry point."""
    control = socket.socket(fileno=int(sys.argv[1]))
    die_with_parent(int(sys.argv[2]))
    # Nothing from a file that lies about: it may hold the secrets of other parts.
    settings = Settings(_env_file=None, **orjson.loads(control.recv(_MAX_MESSAGE_BYTES)))
    warm_up()
    # What is there now is never collected: looking at it would copy its pages into each process.
    gc.collect()
    gc.freeze()
    stand_behind()
    control.send(orjson.dumps({"ready": 1}))
    ForkServer(control, settings).run()


if __name__ == "__main__":
    main()
