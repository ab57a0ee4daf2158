"""A running ``tessera up``, as the end-to-end tests see it: an address, and processes that can be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tessera.local.stack import free_port
from tests.polling import eventually_sync

START_S = 240
STOP_S = 60
# What is to happen at once: less than a lease lasts, for a machine that has other things to do.
SOON_S = 4


@dataclass(frozen=True)
class RunningStack:
    """Attributes:
    url: the gateway.
    direct_url: vLLM's own application, in the same process as the worker's engine client.
    """

    url: str
    direct_url: str
    model: str
    process: psutil.Process

    def get(self, path: str) -> tuple[int, bytes]:
        """GET from the gateway."""
        return _get(self.url + path)

    def ready(self) -> bool:
        """Whether a worker serves the model."""
        return self.get("/readyz")[0] == 200

    def metric(self, name: str) -> float:
        """Sum of a metric of the gateway over its labels."""
        return metric(self.get("/metrics")[1].decode(), name)

    def engine_metric(self, name: str) -> float:
        """Sum of a metric of vLLM over its labels."""
        return metric(_get(f"{self.direct_url}/metrics")[1].decode(), name)

    def worker_metrics(self) -> str:
        """What the one worker that Prometheus finds tells it."""
        [group] = json.loads(self.get("/sd/workers")[1])
        assert group["labels"]["model"] == self.model
        [target] = group["targets"]
        return _get(f"http://{target}/metrics")[1].decode()

    def descendant(self, text: str) -> psutil.Process:
        """The youngest descendant with ``text`` in its command line or name."""
        return _youngest(self.process, text)

    def engine_core(self) -> psutil.Process:
        """The youngest of vLLM's engine cores.

        Not by vLLM's title for it alone: setproctitle does nothing, and says nothing, in a process that has changed the
        first variable of its environment.
        """
        return _youngest(self.descendant("tessera worker"), "VLLM::EngineCore", "multiprocessing.spawn")


@contextmanager
def running_stack(folder: Path, **env: str) -> Iterator[RunningStack]:
    """``tessera up`` until the context ends; it must then leave no process and no file behind."""
    # Not in ``folder``: pytest's paths are long, and Ray's sockets lie deep in this one, whose path may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="t-") as scratch:
        yield from _running_stack(folder, Path(scratch), env)


def _running_stack(folder: Path, scratch: Path, env: dict[str, str]) -> Iterator[RunningStack]:
    port, direct_port = free_port(), free_port()
    environment = {
        **os.environ,
        "TESSERA_PORT": str(port),
        "TESSERA_ENGINE_PORT": str(direct_port),
        "TESSERA_WORKER_METRICS_PORT": str(free_port()),
        "TESSERA_MEDIA_ALLOW_PRIVATE_NETWORKS": "1",
        "TESSERA_MEDIA_FETCH_TIMEOUT_S": "3",
        "TMPDIR": str(scratch),
        **env,
    }
    log_path = folder / "up.log"
    with log_path.open("wb") as log:
        argv = [sys.executable, "-m", "tessera", "up", "--verbose"]
        process = subprocess.Popen(argv, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    stack = RunningStack(
        f"http://127.0.0.1:{port}", f"http://127.0.0.1:{direct_port}", "tessera-nano", psutil.Process(process.pid)
    )
    try:
        _await_start(stack, process, log_path)
        yield stack
        _stop_and_check(process, scratch, log_path)
    finally:
        for descendant in _descendants(process.pid):
            descendant.kill()
        if process.poll() is None:
            process.kill()
        process.wait()


def _await_start(stack: RunningStack, process: subprocess.Popen[bytes], log_path: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        assert process.poll() is None, f"`tessera up` exited:\n{_tail(log_path)}"
        assert time.monotonic() < deadline, f"`tessera up` did not get ready:\n{_tail(log_path)}"
        try:
            if stack.ready():
                return
        except OSError:
            pass
        time.sleep(0.2)


def _stop_and_check(process: subprocess.Popen[bytes], scratch: Path, log_path: Path) -> None:
    family = _descendants(process.pid)
    process.send_signal(signal.SIGTERM)
    assert process.wait(STOP_S) == 0, _tail(log_path)
    eventually_sync(lambda: not any(p.is_running() and p.status() != "zombie" for p in family), "all processes gone")
    left = [p.name for p in scratch.iterdir() if p.name.startswith("tessera-")]
    assert left == [], f"files left behind: {left}"


def metric(text: str, name: str) -> float:
    """Sum of a metric over its labels in Prometheus' text format."""
    lines = [line for line in text.splitlines() if line.split("{")[0].split(" ")[0] == name]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def request(url: str, body: Any, *, timeout_s: float = 60) -> tuple[int, dict[str, str], bytes]:
    """POST a body (bytes, or an object as JSON); errors are answers too."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    message = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(message, timeout=timeout_s) as response:
            return response.status, dict(response.headers), response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


def _get(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def _youngest(ancestor: psutil.Process, *texts: str) -> psutil.Process:
    found = [p for p in ancestor.children(recursive=True) if any(text in _command(p) for text in texts)]
    assert found, f"no process with {' or '.join(texts)}"
    return max(found, key=lambda p: p.create_time())


def _command(process: psutil.Process) -> str:
    try:
        return " ".join([process.name(), *process.cmdline()])
    except psutil.Error:
        return ""


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _tail(path: Path, lines: int = 60) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
