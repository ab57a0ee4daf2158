from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2] / "server")}
CODE = """
import asyncio, sys
from contextlib import asynccontextmanager
from tessera.local.up import ended_by_signals

@asynccontextmanager
async def work():
    try:
        yield
    finally:
        print("cleaning", flush=True)
        await asyncio.to_thread(sys.stdin.readline)  # a second signal comes now
        print("clean", flush=True)

async def main():
    with ended_by_signals():
        async with work():
            print("ready", flush=True)
            await asyncio.Event().wait()
    print("ended", flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_in_order_and_only_once(number):
    argv = [sys.executable, "-c", CODE]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": ENVIRONMENT}
    with subprocess.Popen(argv, **pipes) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.readline() == "cleaning\n"
        process.send_signal(number)
        out, _ = process.communicate("\n", timeout=20)
    assert (out, process.returncode) == ("clean\nended\n", 0)
