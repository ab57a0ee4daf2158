"""The gateway's side of the fork server: starts it, has it start processes, and notices their ends."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import orjson
import structlog

from tessera.errors import MediaDecoderUnavailable
from tessera.media.inline import INLINE_BYTES
from tessera.media.sandbox.messages import HEAD_BYTES, MAX_MESSAGE_BYTES
from tessera.settings import Settings
from tessera.settings.media import MediaSettings
from tessera.telemetry import media as metrics

log = structlog.get_logger()

_START_S = 60.0
_FORK_S = 10.0
# Of the gateway's environment nothing is handed on. One arena, since glibc reserves address space for each; up to
# 64 MiB kept for the next item, since having the kernel clear pages for each costs as much as decoding; one
# thread, since those of a linear algebra library would not be there after a fork.
_ENVIRONMENT = {
    "LC_ALL": "C.UTF-8",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": "67108864",
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}


class Channel:
    """One end of a socket of messages, in this process's event loop.

    Attributes:
        most_bytes: of data that fit into one message behind its head.
    """

    def __init__(self, end: socket.socket):
        self._socket = end
        self._loop = asyncio.get_running_loop()
        self._awaited: asyncio.Future[bytes] | None = None
        self._watched = False
        end.setblocking(False)
        self.most_bytes = min(INLINE_BYTES, end.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) - HEAD_BYTES)

    @classmethod
    def pair(cls) -> tuple[Channel, socket.socket]:
        """A channel, and its other end for another process."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            # A message has to fit in whole; the kernel takes twice of this, and knows a limit of its own.
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_MESSAGE_BYTES)
        return cls(ours), theirs

    def send(self, *message: bytes, files: Sequence[int] = ()) -> None:
        """Send a message, with open files. Raises OSError where the other side is gone."""
        socket.send_fds(self._socket, message, list(files))

    async def receive(self) -> bytes:
        """The next message; empty once the other side is gone. One at a time asks."""
        self._awaited = self._loop.create_future()
        # For good: to begin and to end it for each message costs more than to read one.
        if not self._watched:
            self._watched = True
            self._loop.add_reader(self._socket, self._read)
        try:
            return await self._awaited
        finally:
            self._awaited = None

    async def expect(self) -> bytes:
        """The next message, which has to come. Raises OSError where the other side is gone."""
        if message := await self.receive():
            return message
        raise ConnectionResetError("it ended as it started")

    def close(self) -> None:
        """Let the other side know that there is nothing more to do."""
        self._unwatch()
        self._socket.close()

    def _read(self) -> None:
        if self._awaited is None or self._awaited.done():
            # Nobody has asked: it waits, and the end of the other side as well.
            self._unwatch()
            return
        try:
            self._awaited.set_result(self._socket.recv(MAX_MESSAGE_BYTES))
        except BlockingIOError:
            return
        except OSError:
            self._awaited.set_result(b"")

    def _unwatch(self) -> None:
        if self._watched:
            self._watched = False
            self._loop.remove_reader(self._socket)


class Child:
    """One confined process.

    Attributes:
        tasks: done so far.
        missing: what the kernel could not confine.
        status: its exit status (negative: the signal that ended it) once it has ended.
    """

    def __init__(self, identity: int, channel: Channel):
        self.identity = identity
        self.channel = channel
        self.tasks = 0
        self.missing: list[str] = []
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()


class Processes:
    """Confined processes of one gateway.

    Args:
        settings: of the media stage.
        module: what is run as the fork server.
    """

    def __init__(self, settings: Settings, *, module: str = "tessera.media.sandbox.fork_server"):
        self._settings = settings
        self._module = module
        self._starting = asyncio.Lock()
        self._server: asyncio.subprocess.Process | None = None
        self._control: Channel | None = None
        self._listener: asyncio.Task[None] | None = None
        self._forks: deque[asyncio.Future[int]] = deque()
        self._children: dict[int, Child] = {}

    async def start(self) -> Child:
        """A new process.

        Raises:
            MediaDecoderUnavailable: it could not be started.
        """
        try:
            control = await self._connected()
            async with asyncio.timeout(_FORK_S):
                return await self._fork(control)
        except (OSError, TimeoutError, ValueError) as error:
            log.warning("media_process_not_started", error=str(error) or type(error).__name__)
            raise MediaDecoderUnavailable(
                "No process to decode media in can be started at the moment. Retry in a few seconds.", retry_after_s=5
            ) from error

    def kill(self, child: Child) -> None:
        """End a process, whatever it is doing."""
        child.channel.close()
        if self._control is not None and not child.status.done():
            with suppress(OSError):
                self._control.send(orjson.dumps({"kill": child.identity}))

    async def aclose(self) -> None:
        """End all."""
        for child in list(self._children.values()):
            self.kill(child)
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._listener is not None:
            self._listener.cancel()
        if self._server is not None:
            await self._end_server(self._server)

    async def _connected(self) -> Channel:
        async with self._starting:
            if self._control is None:
                self._control = await self._start_server()
                self._listener = asyncio.create_task(self._listen(self._control))
            return self._control

    async def _start_server(self) -> Channel:
        channel, theirs = Channel.pair()
        with theirs:
            server = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", self._module, str(theirs.fileno()), str(os.getpid())),
                pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                env={**_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                start_new_session=True,
            )
        self._server = server
        try:
            media = {name: getattr(self._settings, name) for name in MediaSettings.model_fields}
            channel.send(orjson.dumps({**media, "media_redis_url": ""}))
            async with asyncio.timeout(_START_S):
                await channel.expect()
        except BaseException:
            channel.close()
            await self._end_server(server)
            raise
        metrics.fork_server_starts.inc()
        return channel

    async def _fork(self, control: Channel) -> Child:
        channel, theirs = Channel.pair()
        try:
            forked: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            with theirs:
                control.send(orjson.dumps({"fork": True}), files=[theirs.fileno()])
                self._forks.append(forked)
            child = Child(await asyncio.shield(forked), channel)  # answers come in order, also for who has left
        except BaseException:
            channel.close()
            raise
        self._children[child.identity] = child
        metrics.sandbox_processes.inc()
        metrics.sandbox_starts.inc()
        try:
            child.missing = orjson.loads(await channel.expect())
        except BaseException:
            self.kill(child)
            raise
        return child

    async def _listen(self, control: Channel) -> None:
        """Hear of forks and ends until the fork server is gone, and with it all that it has started."""
        while message := await control.receive():
            self._note(orjson.loads(message))
        control.close()
        if self._control is control:
            self._control = None
        while self._forks:
            # Not cancelled: whoever waits for it has not been either.
            self._forks.popleft().set_exception(ConnectionResetError("the fork server ended"))
        for identity in list(self._children):
            self._note({"ended": identity, "status": -9})
        log.warning("media_fork_server_ended")

    def _note(self, told: dict[str, Any]) -> None:
        if "forked" in told:
            self._forks.popleft().set_result(told["forked"])
        elif (child := self._children.pop(told["ended"], None)) is not None:
            metrics.sandbox_processes.dec()
            child.status.set_result(told["status"])

    async def _end_server(self, server: asyncio.subprocess.Process) -> None:
        with suppress(ProcessLookupError):
            server.kill()
        await server.wait()
