"""nginx and HAProxy in front of a gateway, configured as they are documented."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tessera.local.stack import free_port
from tests.gateway.raw import connected
from tests.polling import eventually

PROXIES = ("nginx", "haproxy")
CONFIGURATIONS = Path(__file__).parents[2] / "deploy" / "proxies"


def configuration(name: str, listens: int, gateway: int, folder: Path) -> Path:
    """The documented file, with addresses of this machine. Of its two gateways one is away."""
    text = (CONFIGURATIONS / name).read_text()
    for host, port in (("gateway-1", free_port()), ("gateway-2", gateway)):
        text = text.replace(f"{host}:8000", f"127.0.0.1:{port}")
    text, times = re.subn(r"(listen |bind ):?80\b", rf"\g<1>127.0.0.1:{listens}", text)
    assert times == 1
    # A test machine may have few file descriptors.
    text = re.sub(r"(maxconn|worker_connections) \d+", r"\1 256", text)
    # Distributions' own defaults for what is written where.
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {folder};" for kind in kinds)
    path = folder / name
    path.write_text(text.replace("http {", f"http {{ access_log off; {places}", 1))
    return path


@asynccontextmanager
async def proxy(kind: str, gateway: int, folder: Path) -> AsyncIterator[str]:
    """The address of one that runs in front of a gateway's port."""
    port = free_port()
    if kind == "nginx":
        path = configuration("nginx.conf", port, gateway, folder)
        own = f"daemon off; pid {folder}/pid; error_log stderr;"
        argv = ["nginx", "-p", str(folder), "-e", "stderr", "-c", str(path), "-g", own]
    else:
        argv = ["haproxy", "-db", "-f", str(configuration("haproxy.cfg", port, gateway, folder))]
    process = subprocess.Popen(argv, stderr=sys.stderr)  # noqa: ASYNC220

    async def listens() -> bool:
        assert process.poll() is None
        try:
            async with connected(port):
                return True
        except ConnectionRefusedError:
            return False

    try:
        await eventually(listens, "the proxy listens")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)
