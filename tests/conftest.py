"""Fixtures for all tests, and for everything that needs a real Redis."""

from __future__ import annotations

import gc
import os
import secrets
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis
import redis.asyncio as aioredis

from tessera.local.redis_server import executable
from tessera.queue import connect
from tessera.settings import Settings
from tests.stack import RunningStack, running_stack
from tests.telemetry.collector import Collector, collector_beside


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what shares the one server of most end-to-end tests: it can run while others have theirs."""
    for item in items:
        if "stack" in getattr(item, "fixturenames", ()):
            item.add_marker("shared_stack")


@pytest.fixture(autouse=True, scope="module")
def collector_leaves_alone_what_is_there() -> None:
    """As a gateway does at its start: what all tests import are millions of objects.

    To look through them takes Python's collector most of a second, while a gateway in this process would stand still.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def ordinary_scheduling() -> Iterator[None]:
    """Undo what SVT-AV1 does, run by root: it makes the thread that encodes with it a real-time one.

    All that is started by it later, servers as well, would be so too, and leave the processors to nobody else.
    """
    yield
    if os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Redis on a socket in a folder of its own."""
    folder = tmp_path_factory.mktemp("redis")
    socket = folder / "s"
    argv = [executable(), "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", folder]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT)
    try:
        _await_redis(socket)
        yield f"unix://{socket}"
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def nothing_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting comes from this machine's environment, or from a file in the folder that pytest was started in."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"TESSERA_{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def settings(redis_url: str) -> Settings:
    """Settings of a test's own corner of the Redis, with leases short enough to see them run out."""
    return Settings(redis_url=redis_url, redis_prefix=f"test-{secrets.token_hex(4)}", lease_s=1.0)


@pytest.fixture
async def redis_client(settings: Settings) -> AsyncIterator[aioredis.Redis]:
    """A connection pool to the Redis."""
    client = connect(settings, name="test", blocking_s=2.0)
    yield client
    await client.aclose()


def _await_redis(socket: Path) -> None:
    deadline = time.monotonic() + 10
    with redis.Redis(unix_socket_path=str(socket)) as client:
        while True:
            try:
                client.ping()
                return
            except redis.ConnectionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)


@pytest.fixture(scope="session")
def stack_traces() -> Iterator[Collector]:
    """The spans of those requests to the whole server that ask for it (`traceparent`)."""
    with collector_beside() as made:
        yield made


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, stack_traces: Collector) -> Iterator[RunningStack]:
    """The whole server, started once by the command that users type; tests that break it wait until it has healed."""
    traced = {"TESSERA_OTLP_ENDPOINT": stack_traces.url, "TESSERA_TRACE_PERCENT": "0"}
    hearing = {"TESSERA_TRANSCRIBE_BY_CHAT": "1"}
    with running_stack(tmp_path_factory.mktemp("stack"), **traced, **hearing) as running:
        yield running


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of a server that speaks S3."""
    # Here: few tests need it, and it takes a second.
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()
