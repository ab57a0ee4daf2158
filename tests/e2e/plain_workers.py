"""Workers of several tiny models in one process, without Ray, behind a gateway that is there."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil

from tessera.local.stack import free_port
from tessera.settings import Settings
from tessera.telemetry import logging
from tessera.worker import torch_compat
from tessera.worker.replica import Replica
from tests.polling import eventually_sync
from tests.stack import START_S, STOP_S, RunningStack


@contextmanager
def running_workers(
    gateway: RunningStack, models: Mapping[str, tuple[Path, str]], **env: str
) -> Iterator[dict[str, RunningStack]]:
    """Serve models until the context ends: the gateway's stack as each of them sees it, by name.

    Args:
        models: name to the folder of the checkpoint, and arguments for the engine.
        env: says which Redis the gateway has.
    """
    ports = {name: free_port() for name in models}
    argv = [part for name, (folder, args) in models.items() for part in (name, str(folder), args, str(ports[name]))]
    log_path = next(iter(models.values()))[0].parent / "workers.log"
    with log_path.open("wb") as log:
        command = [sys.executable, "-m", "tests.e2e.plain_workers", *argv]
        process = subprocess.Popen(command, env={**os.environ, **env}, stdout=log, stderr=subprocess.STDOUT)

    def serving() -> bool:
        assert process.poll() is None, log_path.read_text()[-4000:]
        return all(gateway.get(f"/v1/models/{name}")[0] == 200 for name in models)

    try:
        eventually_sync(serving, "all of them serve", within_s=START_S)
        yield {name: replace(gateway, direct_url=f"http://127.0.0.1:{ports[name]}", model=name) for name in models}
        process.terminate()
        assert process.wait(STOP_S) == 0, log_path.read_text()[-4000:]
    finally:
        if process.poll() is None:
            for each in (*psutil.Process(process.pid).children(recursive=True), process):
                each.kill()
            process.wait()


async def serve(argv: list[str]) -> None:
    """Serve models: a name, a folder, arguments and a port for each."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    replicas = [
        Replica(Settings(served_model_name=name, model=folder, engine_args=args, engine_port=int(port)))
        for name, folder, args, port in zip(argv[::4], argv[1::4], argv[2::4], argv[3::4], strict=True)
    ]
    try:
        for replica in replicas:
            await replica.start()
        await stop.wait()
    finally:
        for replica in replicas:
            await replica.stop()


if __name__ == "__main__":
    logging.configure(Settings())
    torch_compat.activate()
    asyncio.run(serve(sys.argv[1:]))
