"""The stack ends stray children of its process, so each test that starts one does so in a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tessera.local.stack import Stack, StartFailed, _check_port, free_port
from tessera.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PREAMBLE = """
import asyncio, os, signal, sys
import psutil
from tessera.local import child, stack
from tessera.local.stack import StartFailed, free_port, open_stack
from tessera.queue import REDIS_UNAVAILABLE, connect
from tessera.settings import Settings
from tests.polling import eventually

child.FIRST_BACKOFF_S = 0.05
news = []

async def main(settings):
    async with open_stack(settings, verbose=False, tell=news.append) as running:
        await body(running)
"""


def drive(body: str, **settings: object) -> str:
    """Run a body in a stack of its own process. Returns what it printed; no process is left."""
    made = ", ".join(f"{name}={value!r}" for name, value in settings.items())
    code = f"{PREAMBLE}\nasync def body(running):\n{textwrap.indent(textwrap.dedent(body), '    ')}\n"
    code += f"asyncio.run(main(Settings({made})))\nprint('left:', psutil.Process().children(recursive=True))\n"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TESSERA_")}
    environment["PYTHONPATH"] = f"{ROOT / 'server'}:{ROOT}"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    *printed, left = done.stdout.splitlines()
    assert left == "left: []"
    return "\n".join(printed)


def test_files_are_kept_beside_the_embedded_redis_unless_somewhere_else_is_named():
    printed = drive("""
        print(running.settings.files_store_url)
        await running.start_redis()
        print(running.settings.files_store_url.startswith("file:///"))
    """)
    assert printed == "\nTrue"
    kept = drive("await running.start_redis(); print(running.settings.files_store_url)", files_store_url="file:///x")
    assert kept == "file:///x"


def test_its_clients_send_the_first_key(tmp_path: Path):
    keys = tmp_path / "keys"
    keys.write_text("# ours\nalice sk-alice\nbob sk-bob\n")
    for settings, headers in (
        ({}, {}),
        ({"api_key": "sk-own"}, {"Authorization": "Bearer sk-own"}),
        ({"api_keys_file": keys}, {"Authorization": "Bearer sk-alice"}),
    ):
        assert Stack(Settings(**settings), tmp_path, False, print).headers == headers


def test_an_embedded_redis_keeps_its_data_over_a_crash():
    printed = drive("""
        await running.start_redis()
        client = connect(running.settings, name="test")
        await client.set("kept", "yes")
        await client.config_set("appendfsync", "always")
        await client.set("kept", "indeed")
        first = running.children["redis"].pid
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: running.children["redis"].pid not in (None, first), "Redis runs again")

        async def kept():
            try:
                return await client.get("kept") == b"indeed"
            except OSError:
                return False
            except Exception as error:
                if "Connection" in type(error).__name__ or "Busy" in type(error).__name__:
                    return False
                raise

        await eventually(kept, "its data is there")
        await client.aclose()
        print(news)
    """)
    assert printed == "['redis exited with code -9; restarting it in 0.05 s']"


def test_media_has_a_redis_of_its_own_that_writes_no_file_and_starts_again():
    printed = drive(
        """
        await running.start_redis()
        settings = running.settings
        media = connect(settings, name="test", url=settings.media_redis_url)
        await media.set("pixels", bytes(1 << 20))
        print(await media.config_get("maxmemory"), await media.config_get("appendonly"), await media.config_get("save"))
        queue = connect(settings, name="test")
        print(await queue.exists("pixels"), (await queue.config_get("appendonly"))["appendonly"])
        await queue.aclose()
        first = running.children["media-redis"].pid
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: running.children["media-redis"].pid not in (None, first), "it runs again")

        async def empty():
            try:
                return await media.get("pixels") is None
            except REDIS_UNAVAILABLE:
                return False

        await eventually(empty, "it answers")
        print([p.name for p in running._folder.iterdir() if p.suffix in (".aof", ".rdb")])
        await media.aclose()
        """,
        media_store_max_bytes=100 << 20,
    )
    assert printed.splitlines() == [
        "{'maxmemory': '209715200'} {'appendonly': 'no'} {'save': ''}",
        "0 yes",
        "['appendonly.aof']",
    ]


def test_a_redis_for_media_that_is_configured_is_used():
    printed = drive(
        """
        await running.start_redis()
        print(list(running.children), running.settings.media_redis_url)
        """,
        media_redis_url="redis://elsewhere",
    )
    assert printed == "['redis'] redis://elsewhere"


def test_a_child_that_exits_at_its_start_is_reported_with_its_log():
    printed = drive(
        """
        running.settings = running.settings.model_copy(update={"port": 0})
        try:
            await running.start_gateway()
        except StartFailed as error:
            print(error)
        """,
        redis_url="nonsense://",
        port=0,
    )
    assert printed.startswith("gateway exited with code 2.")
    assert "TESSERA_REDIS_URL: it does not begin as one of" in printed


def test_a_gateway_answers_where_the_stack_says_and_strays_end_with_it():
    printed = drive(
        """
        await running.start_redis()
        await running.start_gateway()
        print(running.settings.port > 0, running.url.endswith(str(running.settings.port)))
        import urllib.request
        answer = await asyncio.to_thread(urllib.request.urlopen, running.url + "/livez")
        print(answer.status)
        stray = await asyncio.create_subprocess_exec("sleep", "600")
        """,
        host="127.0.0.1",
        port=0,
    )
    assert printed == "True True\n200"


def test_a_port_in_use_names_the_setting():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartFailed, match=rf"Port {port} .*TESSERA_PORT"):
            _check_port("127.0.0.1", port)
    _check_port("127.0.0.1", free_port())


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:8123"),
        ("10.0.0.1", "http://10.0.0.1:8123"),
        ("::", "http://[::1]:8123"),
        ("::1", "http://[::1]:8123"),
        ("localhost", "http://localhost:8123"),
    ],
)
def test_the_address_for_clients(host, url, tmp_path):
    stack = Stack(Settings(host=host, port=8123, served_model_name="m"), tmp_path, verbose=False, tell=print)
    assert (stack.url, stack.model) == (url, "m")


def test_a_free_port_is_given_to_nobody_else_until_it_is_taken():
    port = free_port()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))
    with socket.socket() as client, pytest.raises(ConnectionRefusedError):
        client.connect(("127.0.0.1", port))
    with socket.create_server(("", port)) as server, socket.create_connection(("127.0.0.1", port)):
        server.accept()[0].close()
