"""``/v1/requests/{id}/events``: answers that are picked up again."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import suppress

import aiohttp
import pytest

from tessera.gateway.wire import WAITING
from tessera.queue import Data, End, Failure, Head
from tests.gateway.gateway_process import gateway_process
from tests.gateway.scripted import DOCUMENT, STREAM, USAGE, chat, event
from tests.polling import eventually

DONE = Data(b"data: [DONE]\n\n")
LASTING = {"X-Tessera-On-Disconnect": "continue"}
# One event an entry, several in one, and one that three entries share.
CUT = b'data: {"choices":[{"delta":{"content":"a long one"}}]}\n\n'
PIECES = (
    event("one"),
    Data(event("two").body + event("three").body),
    Data(CUT[:9]),
    Data(CUT[9:20]),
    Data(CUT[20:] + event("four").body + event("five").body[:5]),
    Data(event("five").body[5:]),
    DONE,
)
PLAIN = b"".join(piece.body for piece in PIECES)


def follow(gateway, request_id, *, after="", **options):
    url = f"{gateway.url}/v1/requests/{request_id}/events"
    headers = {"Last-Event-ID": after} if after else {}
    return gateway.http.get(url, headers=headers, **options)


async def read(gateway, request_id, *, after="", **options):
    async with follow(gateway, request_id, after=after, **options) as response:
        return response.status, await response.read()


def without_ids(stream):
    return re.sub(rb"(?m)^id: \d+-\d+\n", b"", stream)


def ids_of(stream):
    """The id of each event; every event has one."""
    events = stream.split(b"\n\n")
    assert events.pop() == b""
    ids = [re.match(rb"id: (\d+-\d+)\ndata: ", e) for e in events]
    assert all(ids)
    return [found[1].decode() for found in ids]


async def finished(gateway, worker, *entries, headers=LASTING, **fields):
    """The id of a request that was answered with these entries, and what its client got."""
    asked = asyncio.create_task(gateway.post(chat(worker.card.model, **fields), headers=headers))
    lease = await worker.take()
    await worker.finish(lease, *entries)
    answer = await asked
    return lease.job.id, answer


async def test_an_ordinary_stream_has_no_ids(gateway, worker):
    job_id, answer = await finished(gateway, worker, STREAM, *PIECES, End(USAGE), headers={}, stream=True)
    assert answer.body == PLAIN
    _, again = await read(gateway, job_id)
    assert without_ids(again) == PLAIN


async def test_a_stream_is_picked_up_behind_each_of_its_events(start_gateway, settings, gateway, worker):
    other = await start_gateway(settings)
    job_id, answer = await finished(gateway, worker, STREAM, *PIECES, End(USAGE), stream=True)
    whole = answer.body
    assert without_ids(whole) == PLAIN
    ids = ids_of(whole)
    assert ids == ["1-1", "2-1", "2-2", "5-1", "5-2", "6-1", "7-1"]
    assert await read(other, job_id) == (200, whole)
    events = whole.split(b"\n\n")
    for n, last in enumerate(ids[:-1], 1):
        rest = b"\n\n".join(events[n:])
        assert await read(other, job_id, after=last) == (200, rest)
        assert await read(other, job_id, params={"after": last}) == (200, rest)
        assert await read(gateway, f"chatcmpl-{job_id}", after=last, params={"after": ids[0]}) == (200, rest)
    assert await read(other, job_id, after=ids[-1]) == (204, b"")


async def test_a_stream_that_is_longer_than_what_is_kept_of_it_at_once(gateway, worker):
    events = [event(f"{n}:" + "x" * 60_000) for n in range(30)]
    job_id, answer = await finished(gateway, worker, STREAM, *events, DONE, End(USAGE), stream=True)
    whole = answer.body
    assert without_ids(whole) == b"".join(e.body for e in events) + DONE.body
    assert await read(gateway, job_id) == (200, whole)
    at = whole.index(b"\n\n", len(whole) // 2) + 2
    assert await read(gateway, job_id, after=ids_of(whole[:at])[-1]) == (200, whole[at:])


async def test_a_stream_goes_on_at_another_gateway_when_its_own_was_killed(start_gateway, settings, worker):
    short = settings.model_copy(update={"lease_s": 2.0})
    other = await start_gateway(short)
    body = chat(worker.card.model, stream=True)
    async with gateway_process(short) as dying:
        url = f"{dying.url}/v1/chat/completions"
        asked = asyncio.create_task(dying.http.post(url, json=body, headers=LASTING))
        lease = await worker.take()
        await worker.say(lease, STREAM, *PIECES[:2])
        async with await asked as broken:
            got = await broken.content.readuntil(event("two").body)
            job_id = broken.headers["X-Tessera-Request-Id"]
            dying.kill()
            with suppress(aiohttp.ClientError):
                got += await broken.content.read()
        got = got[: got.rindex(b"\n\n") + 2]
        async with follow(other, job_id, after=ids_of(got)[-1]) as rest:
            assert rest.headers["X-Tessera-Request-Id"] == job_id
            assert rest.headers["Content-Type"] == STREAM.content_type
            await worker.say(lease, *PIECES[2:5])
            first = await rest.content.readuntil(event("four").body)

            async def orphans_are_reaped():
                return await worker.broker._redis.zcard(worker.broker.keys.gateways(worker.card.model)) <= 1

            await eventually(orphans_are_reaped, "the dead gateway is forgotten", within_s=30)
            await worker.say(lease, *PIECES[5:], End(USAGE))
            got += first + await rest.content.read()
    assert without_ids(got) == PLAIN
    assert (await read(other, job_id))[1] == got


async def test_several_readers_at_once_each_get_all_of_it(start_gateway, settings, gateway, worker):
    other = await start_gateway(settings)
    asked = asyncio.create_task(gateway.post(chat(worker.card.model, stream=True), headers=LASTING))
    lease = await worker.take()
    readers = [asyncio.create_task(read(g, lease.job.id)) for g in (gateway, gateway, other, other)]

    async def following():
        channels = await worker.broker._redis.hget(worker.broker.keys.job(worker.card.model, lease.job.id), "followers")
        return channels is not None and gateway.open_streams == 3 and other.open_streams == 2

    await eventually(following, "all follow")
    assert await gateway.metric("tessera_request_followers") == 4  # of the process
    for piece in (STREAM, *PIECES):
        await worker.say(lease, piece)
    await worker.say(lease, End(USAGE))
    expected = (await asked).body
    assert without_ids(expected) == PLAIN
    assert await asyncio.gather(*readers) == [(200, expected)] * 4
    assert await gateway.metric("tessera_tokens_total", model=worker.card.model, kind="prompt") == 7
    assert (gateway.open_streams, other.open_streams) == (0, 0)


async def test_what_is_said_is_told_to_a_follower_at_once(start_gateway, settings, gateway, worker, monkeypatch):
    """Not only when it looks into the log."""
    other = await start_gateway(settings)
    monkeypatch.setattr("tessera.queue.replies.CATCH_UP_AFTER_S", 600)
    asked = asyncio.create_task(gateway.post(chat(worker.card.model, stream=True), headers=LASTING))
    lease = await worker.take()
    await worker.say(lease, STREAM, event("one"))
    async with follow(other, lease.job.id) as response:
        for text in ("one", "two", "three"):
            assert await asyncio.wait_for(response.content.readuntil(event(text).body), 5)
            await worker.say(lease, event({"one": "two", "two": "three"}.get(text, "four")))
        await worker.say(lease, DONE, End(USAGE))
        await asyncio.wait_for(response.content.read(), 5)
    await asked


async def test_a_reader_that_leaves_takes_nothing_with_it(gateway, worker):
    asked = asyncio.create_task(gateway.post(chat(worker.card.model, stream=True)))
    lease = await worker.take()
    await worker.say(lease, STREAM, event("one"))
    async with follow(gateway, lease.job.id) as response:
        await response.content.readuntil(event("one").body)
    await eventually(lambda: gateway.open_streams == 1, "it has left")
    await worker.say(lease, DONE, End(USAGE))
    assert (await asked).body == event("one").body + DONE.body


async def test_a_document_comes_with_its_status_and_type_once_it_is_complete(gateway, worker):
    asked = asyncio.create_task(gateway.post(chat(worker.card.model)))
    lease = await worker.take()
    reading = asyncio.create_task(read(gateway, lease.job.id))
    body = b'{"choices": []}'
    await worker.say(lease, DOCUMENT, Data(body), End(USAGE))
    assert (await asked).body == body
    assert await reading == (200, body)
    async with follow(gateway, lease.job.id) as again:
        assert (again.headers["Content-Type"], again.headers["Content-Length"]) == ("application/json", str(len(body)))
        assert await again.read() == body


REFUSAL = b'{"error":{"message":"No.","type":"invalid_request_error","param":"n","code":"invalid_value"}}'


async def test_a_refusal_comes_with_its_status(gateway, worker):
    entries = (Head(400, "application/json"), Data(REFUSAL), End(error=(400, "invalid_value")))
    job_id, answer = await finished(gateway, worker, *entries, stream=True)
    assert (answer.status, answer.body) == (400, REFUSAL)
    assert await read(gateway, job_id) == (400, REFUSAL)
    assert (await read(gateway, job_id, after="1-1"))[0] == 410


async def test_a_failure_before_the_first_byte_is_an_error(gateway, worker):
    job_id, answer = await finished(gateway, worker, Failure("queue_timeout", "Too late."), stream=True)
    assert answer.status == 503
    assert await read(gateway, job_id) == (503, answer.body)


async def test_a_failure_in_the_middle_is_an_event_with_an_id(gateway, worker):
    entries = (STREAM, *PIECES[:3], Failure("worker_lost", "It died."))
    job_id, answer = await finished(gateway, worker, *entries, stream=True)
    *_, error, done, _ = answer.body.split(b"\n\n")
    assert error.startswith(b"id: 4-1\ndata: ")
    assert json.loads(error.removeprefix(b"id: 4-1\ndata: "))["error"]["code"] == "worker_lost"
    assert done == b"id: 4-2\ndata: [DONE]"
    assert await read(gateway, job_id) == (200, answer.body)
    assert await read(gateway, job_id, after="2-2") == (200, error + b"\n\n" + done + b"\n\n")
    assert await read(gateway, job_id, after="4-1") == (200, done + b"\n\n")
    assert await read(gateway, job_id, after="4-2") == (204, b"")
    assert (await read(gateway, job_id, after="4-3"))[0] == 410


@pytest.mark.parametrize("last", [Failure("worker_lost", "It died."), End(error=(400, "invalid_value"))])
async def test_an_error_that_came_as_an_event_is_picked_up_as_one(start_gateway, settings, worker, last):
    """Because a comment had to be sent before it."""
    gateway = await start_gateway(settings.model_copy(update={"stream_heartbeat_s": 0.02}))
    url = f"{gateway.url}/v1/chat/completions"
    asked = gateway.http.post(url, json=chat(worker.card.model, stream=True), headers=LASTING)
    async with asked as answer:
        assert await answer.content.readuntil(b"\n\n") == WAITING
        lease = await worker.take()
        if isinstance(last, End):
            await worker.say(lease, Head(400, "application/json"), Data(REFUSAL))
        await worker.finish(lease, last)
        stream = (await answer.content.read()).replace(WAITING, b"")
    first, second = ids_of(stream)
    rest = stream.split(b"\n\n")[1] + b"\n\n"
    assert await read(gateway, lease.job.id, after=first) == (200, rest)
    assert await read(gateway, lease.job.id, after=second) == (204, b"")


async def test_a_follower_gets_comments_too(start_gateway, settings, worker):
    gateway = await start_gateway(settings.model_copy(update={"stream_heartbeat_s": 0.02}))
    asked = asyncio.create_task(gateway.post(chat(worker.card.model, stream=True), headers=LASTING))
    lease = await worker.take()
    async with follow(gateway, lease.job.id) as response:
        assert await response.content.readuntil(b"\n\n") == WAITING
        await worker.say(lease, STREAM, *PIECES, End(USAGE))
        assert without_ids((await response.content.read()).replace(WAITING, b"")) == PLAIN
    await asked


@pytest.mark.parametrize("after", ["x", "1", "1-", "-1", "1-0", "1-1 ", "1-1-1", "1.0-1", "9999999999-1", "1-١"])
async def test_a_malformed_id_of_an_event(gateway, worker, after):
    job_id, _ = await finished(gateway, worker, STREAM, *PIECES, End(USAGE), stream=True)
    async with follow(gateway, job_id, params={"after": after}) as response:
        error = (await response.json())["error"]
    assert (response.status, error["code"], error["param"]) == (400, "invalid_value", "after")


@pytest.mark.parametrize("after", ["0-1", "1-2", "2-3", "3-1", "7-2", "9-1", "999999999-1"])
async def test_an_event_that_the_log_does_not_hold(gateway, worker, after):
    job_id, _ = await finished(gateway, worker, STREAM, *PIECES, End(USAGE), stream=True)
    status, body = await read(gateway, job_id, after=after)
    assert (status, json.loads(body)["error"]["code"]) == (410, "reply_dropped")


async def test_an_event_that_has_not_come_yet(gateway, worker):
    asked = asyncio.create_task(gateway.post(chat(worker.card.model, stream=True), headers=LASTING))
    lease = await worker.take()
    assert (await read(gateway, lease.job.id, after="1-1"))[0] == 410
    await worker.echo(lease)
    await asked


@pytest.mark.parametrize("after", ["", "1-1"])
async def test_an_answer_that_is_no_longer_kept(gateway, worker, after):
    job_id, _ = await finished(gateway, worker, STREAM, *PIECES, End(USAGE), stream=True)
    await worker.broker._redis.delete(worker.broker.keys.log(worker.card.model, job_id))
    status, body = await read(gateway, job_id, after=after)
    assert (status, json.loads(body)["error"]["code"]) == (410, "reply_dropped")
    assert "gain" in json.loads(body)["error"]["message"] or after


async def test_a_reader_of_what_is_cancelled_finds_out(start_gateway, settings, gateway, worker):
    other = await start_gateway(settings)
    asked = asyncio.create_task(gateway.post(chat(worker.card.model, stream=True)))
    lease = await worker.take()
    reading = asyncio.create_task(read(other, lease.job.id))
    await eventually(lambda: other.open_streams == 1, "it follows")
    asked.cancel()  # the client leaves, and with it goes the request
    status, body = await asyncio.wait_for(reading, 10)
    assert (status, json.loads(body)["error"]["code"]) == (409, "request_cancelled")
    assert (await read(other, lease.job.id))[0] == 409


async def test_a_reader_of_what_is_lost_finds_out(gateway, worker):
    asked = asyncio.create_task(gateway.post(chat(worker.card.model, stream=True)))
    lease = await worker.take()
    reading = asyncio.create_task(read(gateway, lease.job.id))
    await eventually(lambda: gateway.open_streams == 2, "it follows")
    keys = worker.broker.keys
    await worker.broker._redis.delete(keys.job(worker.card.model, lease.job.id))
    status, body = await asyncio.wait_for(reading, 10)
    # The gateway of the client that sent it finds out as well, and cancels what may still be on its way.
    assert (status, json.loads(body)["error"]["code"]) in [(503, "reply_lost"), (409, "request_cancelled")]
    assert (await asked).error["code"] == "reply_lost"


async def test_head_is_answered(gateway, worker):
    job_id, _ = await finished(gateway, worker, STREAM, *PIECES, End(USAGE), stream=True)
    async with gateway.http.head(f"{gateway.url}/v1/requests/{job_id}/events") as response:
        assert (response.status, await response.read()) == (200, b"")
