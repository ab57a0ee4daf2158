"""A child process that is restarted when it dies, and whose output goes to a file."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from tessera.processes import end_descendants, end_with_parent

FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 15.0
# A child that ran this long before it died is restarted at once.
SETTLED_S = 60.0


class Child:
    """One process of the stack.

    Args:
        name: as the user sees it.
        argv: the command.
        env: added to this process's environment.
        folder: where ``<name>.log`` goes; None: output to the terminal.
        on_exit: called with what to tell the user before it is restarted.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        folder: Path | None,
        on_exit: Callable[[str], Awaitable[None]],
    ):
        self.name = name
        self.log_path = None if folder is None else folder / f"{name}.log"
        self._argv = list(argv)
        self._env = {**os.environ, **env}
        self._on_exit = on_exit
        self._process: asyncio.subprocess.Process | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process else None

    async def start(self) -> None:
        """Start it, once."""
        output = None if self.log_path is None else self.log_path.open("ab")
        try:
            # A session of its own: Ctrl-C in the terminal reaches only the parent, which stops its children in order.
            self._process = await asyncio.create_subprocess_exec(
                *self._argv,
                env=self._env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )
        finally:
            if output is not None:
                output.close()

    async def exited(self) -> int:
        """Wait for it to exit; returns its exit code."""
        assert self._process is not None, "start first"
        return await self._process.wait()

    def keep(self) -> None:
        """From now on restart it whenever it exits."""
        self._watcher = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        backoff_s = FIRST_BACKOFF_S
        while True:
            started = loop.time()
            news = f"{self.name} exited with code {await self.exited()}"
            if loop.time() - started > SETTLED_S:
                backoff_s = FIRST_BACKOFF_S
            while True:
                await self._on_exit(f"{news}; restarting it in {backoff_s:g} s")
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, LONGEST_BACKOFF_S)
                try:
                    await self.start()
                    break
                except OSError as error:  # no memory or no process left, which may pass
                    news = f"{self.name} cannot be started ({error})"

    async def stop(self, timeout_s: float) -> None:
        """SIGTERM, then after ``timeout_s`` SIGKILL, also for what it left behind."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        if self._process is None or self._process.returncode is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), timeout_s)
        except TimeoutError:
            await asyncio.to_thread(end_descendants, self._process.pid)
            self._process.kill()
            await self._process.wait()

    def last_lines(self, most: int = 40) -> str:
        """The end of its output, for an error message."""
        if self.log_path is None or not self.log_path.exists():
            return ""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-most:])
