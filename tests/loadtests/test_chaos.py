"""What counts losses has to see them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import ClientSession, web

from loadtests.chaos import client as clients
from loadtests.chaos import page, record
from loadtests.chaos.client import Client
from loadtests.chaos.flight import Flight, Strike
from loadtests.chaos.link import Link
from loadtests.chaos.questions import questions
from loadtests.chaos.run import Plan
from loadtests.chaos.said import Said, Spoken
from loadtests.chaos.server import Size
from loadtests.chaos.tally import Tally

USAGE = {"prompt_tokens": 3, "completion_tokens": 4}


def said(*numbers: int, usage: bool = True, index: int = 0) -> Said:
    told = Said()
    for number in numbers:
        told.take(event({"index": index, "text": f" 3fa9c1.{number}"}))
    if usage:
        told.take({**event(), "usage": USAGE})
    return told


def event(*choices: dict[str, Any]) -> dict[str, Any]:
    return {"id": "cmpl-1", "created": 1, "choices": list(choices)}


RIGHT = said(0, 1, 2, 3)


@pytest.mark.parametrize(
    ("told", "agrees", "missing", "duplicated"),
    [
        (said(0, 1, 2, 3), True, 0, 0),
        (said(0, 1, 3), False, 1, 0),
        (said(0, 1, 1, 2, 3), False, 0, 1),
        (said(0, 2, 1, 3), False, 0, 0),
        (said(0, 1, 2, 3, index=1), False, 0, 0),
        (said(0, 1, usage=False), True, 0, 0),
        (said(0, 2, usage=False), False, 0, 0),
        (said(0, 0, usage=False), False, 0, 1),
    ],
)
def test_what_is_missing_twice_or_out_of_order(told: Said, agrees: bool, missing: int, duplicated: int) -> None:
    assert (told.agrees_with(RIGHT), told.missing(RIGHT), told.duplicated(RIGHT)) == (agrees, missing, duplicated)


def test_a_stream_that_changes_its_id_is_another_one() -> None:
    told = said(0, 1, 2)
    told.take({**event({"index": 0, "text": " 3fa9c1.3"}), "id": "cmpl-2", "usage": USAGE})
    assert not told.agrees_with(RIGHT)


def spoken(*texts: str, tokens: list[str] | None = None, end: str = "length", usage: bool = True) -> Spoken:
    told = Spoken()
    for text in texts:
        told.take(event({"index": 0, "delta": {"content": text}}))
    found = [{"token": token} for token in tokens or []]
    told.take(event({"index": 0, "delta": {}, "logprobs": {"content": found}, "finish_reason": end}))
    if usage:
        told.take({**event(), "usage": USAGE})
    return told


@pytest.mark.parametrize(
    ("told", "agrees", "missing", "duplicated"),
    [
        (spoken("The cat", " sat"), True, 0, 0),
        (spoken("The", " cat s", "at", usage=False, end=""), True, 0, 0),
        (spoken("The", " cat", usage=False, end=""), True, 0, 0),
        (spoken("The cat cat sat"), False, 0, 1),
        (spoken("The sat"), False, 1, 0),
        (spoken("The cat sat", tokens=["The", " sat"]), False, 0, 0),
        (spoken("The cat sat", end="stop"), False, 0, 0),
    ],
)
def test_what_a_model_says_is_compared_without_its_events(
    told: Spoken, agrees: bool, missing: int, duplicated: int
) -> None:
    right = spoken("The", " cat", " sat")
    assert (told.agrees_with(right), told.missing(right), told.duplicated(right)) == (agrees, missing, duplicated)


def test_the_arguments_of_a_models_tools_are_compared() -> None:
    calls = [{"index": 0, "id": "call-1", "function": {"name": "count", "arguments": '{"n": 1}'}}]
    told, right = Spoken(), Spoken()
    told.take(event({"index": 0, "delta": {"tool_calls": calls}}))
    right.take(event({"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"name": "count"}}]}}))
    assert not told.agrees_with(right)
    right.take(event({"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": '{"n": 1}'}}]}}))
    assert told.agrees_with(right)


def test_the_gap_is_the_silence_after_a_fault_and_not_what_was_on_its_way() -> None:
    flight = Flight(arrivals=[0.9, 1.0, 1.1, 1.2, 3.5, 3.6], strikes=[Strike("worker killed", 1.05)])
    assert flight.gaps() == [("worker killed", pytest.approx(2.45))]
    flight.strikes.append(Strike("redis killed", 2.0))
    assert flight.gaps() == [("redis killed", pytest.approx(1.5))], "the first one ended in the second"
    flight.strikes.reverse()
    assert flight.gaps() == [("redis killed", pytest.approx(1.5))]


def test_no_two_questions_have_the_same_answer() -> None:
    asked = questions(40, random.Random(0))
    assert len({str(question.body) for question in asked}) == 40
    assert len({question.kind for question in asked}) == 9


class Gateway:
    """Says what a test tells it to, to each request in turn."""

    def __init__(self) -> None:
        self.url = ""
        self.answers: list[Any] = []
        self.struck_at = float("-inf")

    async def handle(self, request: web.Request) -> web.StreamResponse:
        answer = self.answers.pop(0)
        if answer is None:
            await asyncio.Event().wait()
        if isinstance(answer, int):
            return web.json_response({"error": {"code": "no_worker"}}, status=answer)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(answer)
        if not answer.endswith(b"[DONE]\n\n"):
            assert request.transport is not None
            request.transport.abort()
        return response


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    gateway = Gateway()
    runner = web.ServerRunner(web.Server(gateway.handle, handler_cancellation=True), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    gateway.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield gateway
    await runner.cleanup()


async def ask(gateway: Gateway, *answers: Any) -> Tally:
    gateway.answers = list(answers)
    tally = Tally()
    async with ClientSession() as http:
        [question] = questions(1, random.Random(0))
        client = Client(http, [(gateway.url, gateway)], tally, random.Random(0))  # type: ignore[list-item]
        await client.ask(question, RIGHT)
    assert tally.sent == 1
    return tally


def stream(*numbers: int, done: bool = True) -> bytes:
    events = [event({"index": 0, "text": f" 3fa9c1.{number}"}) for number in numbers]
    if done:
        events.append({**event(), "usage": USAGE})
    body = b"".join(b"data: " + orjson.dumps(e) + b"\n\n" for e in events)
    return body + b"data: [DONE]\n\n" if done else body


async def test_a_right_answer_is_counted_as_one(gateway: Gateway) -> None:
    tally = await ask(gateway, 503, stream(0, 1, 2, 3))
    assert tally.clean
    assert (tally.answered, tally.refused) == (1, {"no_worker": 1})


async def test_a_wrong_answer_is_seen(gateway: Gateway) -> None:
    tally = await ask(gateway, stream(0, 1, 1, 3))
    assert not tally.clean
    assert (tally.missing, tally.duplicated, tally.differing) == (1, 1, 1)


async def test_a_stream_that_breaks_off_at_a_gateway_that_is_well_is_lost(gateway: Gateway) -> None:
    tally = await ask(gateway, stream(0, 1, done=False))
    assert (tally.lost, tally.clean) == (1, False)


async def test_a_stream_that_ends_early_and_says_nothing_of_it_is_lost(gateway: Gateway) -> None:
    assert (await ask(gateway, stream(0, 1, done=False) + b"data: [DONE]\n\n")).lost == 1


async def test_a_stream_whose_gateway_was_killed_is_asked_for_again(gateway: Gateway) -> None:
    gateway.struck_at = asyncio.get_running_loop().time()
    tally = await ask(gateway, stream(0, 1, done=False), stream(0, 1, 2, 3))
    assert tally.clean
    assert tally.asked_again == 1


async def test_a_request_without_an_end_is_lost(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "PATIENCE_S", 0.2)
    assert (await ask(gateway, None)).lost == 1


async def test_who_is_refused_for_too_long_has_a_clear_error(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "PERSISTENCE_S", 0.2)
    monkeypatch.setattr(clients, "RETRY_S", 0.05)
    tally = await ask(gateway, *[503] * 100)
    assert tally.clean
    assert tally.failed == {"no_worker": 1}


async def test_a_link_that_is_cut_passes_nothing_until_it_is_mended(tmp_path: Path) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_unix_server(echo, tmp_path / "there")
    link = Link(tmp_path / "here", tmp_path / "there")
    await link.start()
    reader, writer = await asyncio.open_unix_connection(link.socket)
    writer.write(b"a")
    assert await reader.readexactly(1) == b"a"
    link.cut(silently=True)
    writer.write(b"b")
    answer = asyncio.create_task(reader.readexactly(1))
    done, _ = await asyncio.wait([answer], timeout=0.1)
    assert not done
    link.mend()
    assert await answer == b"b"
    link.cut(silently=False)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    writer.close()
    link.stop()
    server.close()


@pytest.mark.parametrize("path", page.PAGES)
def test_each_page_has_the_counts_of_all_runs(path: Path) -> None:
    text = path.read_text()
    assert page.inserted(text, page.PAGES[path](record.read())) == text, "run `make chaos-page`"


def test_runs_add_up(tmp_path: Path) -> None:
    tally = Tally(sent=3, answered=2)
    tally.failed["worker_lost"] = 1
    tally.strikes["worker killed"] = 1200
    tally.gaps_s["worker killed"] = [1.0, 3.0]
    path = tmp_path / "results.json"
    for engine in ("simulated", "simulated", "vllm"):
        record.append(record.record_of(Plan(kills=1, seconds=1, size=Size(engine=engine)), tally, 60.0), path)
    told = page.tables(record.read(path))
    assert "| processes killed (`kill -9`) | 2,400 | 1,200 |" in told
    assert "| worker killed | 2 | 3.00 | 3.00 | 3.00 |" in told
    assert "cores that all of them share at a load average of " in told
    sentence = page.sentence(record.read(path))
    assert "killed 3,600 processes under 9 requests so far: 0 requests lost" in sentence
    assert "1,200 kills and 3 requests were with real vLLM" in sentence
