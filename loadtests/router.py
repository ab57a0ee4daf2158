"""Another project's router, in Rust, before the same paced backend: what a token costs without a queue and a log.

``sglang-router`` is installed into a virtual environment of its own (``make bench-queue`` does), because its
dependencies are not ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from loadtests.target import Address
from tessera.local.stack import StartFailed, free_port

_START_S = 60.0
_POLL_S = 0.2
_STOP_S = 10.0


@asynccontextmanager
async def router(python: Path, backend: Address) -> AsyncIterator[Address]:
    """Run it while the context lasts.

    Args:
        python: of the virtual environment that has ``sglang-router``.
        backend: serves OpenAI's API.

    Raises:
        StartFailed: it ended, or does not answer.
    """
    address = Address("127.0.0.1", free_port())
    options = {
        "--host": address.host,
        "--port": str(address.port),
        "--worker-urls": f"http://{backend}",
        "--policy": "round_robin",
        "--prometheus-port": str(free_port()),
        "--log-level": "error",
        "--max-concurrent-requests": "-1",
    }
    argv = [
        "-m",
        "sglang_router.launch_router",
        *(part for option in options.items() for part in option),
        "--disable-health-check",
    ]
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(python, *argv, stdin=quiet, stdout=quiet, stderr=quiet)
    try:
        await _answers(process, address)
        yield address
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(_STOP_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


async def _answers(process: asyncio.subprocess.Process, address: Address) -> None:
    async with aiohttp.ClientSession() as http:
        try:
            async with asyncio.timeout(_START_S):
                while process.returncode is None:
                    try:
                        # When its backend has been found well.
                        async with http.get(f"http://{address}/readiness") as response:
                            if response.status == 200:
                                return
                    except aiohttp.ClientError:
                        pass
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise StartFailed(f"The router does not answer after {_START_S:g} s.") from None
    raise StartFailed(f"The router exited with code {process.returncode}.")
