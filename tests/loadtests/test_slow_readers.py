from __future__ import annotations

import asyncio
import io
from contextlib import suppress

import pytest
from rich.console import Console

from loadtests import bench_slow_readers, slow_readers
from loadtests.bench_slow_readers import Memory, Outcome, Plan
from loadtests.round import Round
from loadtests.slow_readers import Reading, asking
from tessera.settings import MIB
from tests.polling import eventually


async def test_clients_read_as_they_are_to_and_leave_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slow_readers, "READ_EVERY_S", 0.01)
    asked: dict[bytes, asyncio.StreamWriter] = {}
    left: list[asyncio.StreamWriter] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked[await reader.readexactly(4)] = writer
        writer.write(b"x" * 3_000_000)
        with suppress(ConnectionError):
            await reader.read()
        left.append(writer)
        writer.close()

    def unsent(name: bytes) -> int:
        return asked[name].transport.get_write_buffer_size()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with (
        asking(host, port, [b"fast"], Reading.AT_ONCE),
        asking(host, port, [b"slow"], Reading.SLOWLY),
        asking(host, port, [b"none"], Reading.NEVER),
    ):
        await eventually(lambda: len(asked) == 3, "all have asked")
        await eventually(lambda: unsent(b"fast") == 0, "one has taken all of it")
        assert unsent(b"none") > 0
        assert unsent(b"slow") > 0
    await eventually(lambda: len(left) == 3, "all have left")
    server.close()


@pytest.mark.parametrize(("grown", "good"), [(MIB, True), (MIB + 1, False)])
def test_growth_beyond_the_limit_is_a_miss(grown: int, good: bool) -> None:
    plan = Plan(slow=1, never=1, tokens=1, others=1, seconds=1, step_ms=1)
    memory = Memory({"gateway": MIB, "redis": MIB}, {"gateway": MIB + 2 * grown, "redis": 99 * MIB})
    written = io.StringIO()
    told = bench_slow_readers._show(Outcome({"nobody": Round()}, memory, cut=1), plan, Console(file=written))
    assert told == good
    assert ("MISS" in written.getvalue()) != good
    assert "cut off 1 of the 2" in written.getvalue()
