"""``/v1/batches``, with OpenAI's own client, over the real queue and a worker that says what it is asked."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import openai
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from tessera.batches import Batch, new_batch_id
from tessera.gateway import batch_runner
from tessera.gateway.batch_input import read_lines
from tests.gateway.files import ask
from tests.gateway.gateway_process import gateway_process
from tests.gateway.scripted import chat
from tests.polling import eventually

ENDED = {"completed", "failed", "expired", "cancelled"}


@pytest.fixture
def settings(settings, tmp_path):
    return settings.model_copy(update={"files_store_url": (tmp_path / "store").as_uri(), "lease_s": 2.0})


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(batch_runner, "LOOK_EVERY_S", 0.1)


@pytest.fixture
async def client(gateway):
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="x", max_retries=0) as client:
        yield client


def request(name, body, **other):
    return {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body, **other}


def requests(card, count):
    return [request(f"r{n}", chat(card.model, f"question {n}")) for n in range(count)]


async def begin(client, lines, **options):
    text = b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)
    file = await client.files.create(file=("in.jsonl", text), purpose="batch")
    how = {"endpoint": "/v1/chat/completions", "completion_window": "24h", **options}
    return await client.batches.create(input_file_id=file.id, **how)


async def until(client, batch, *statuses):
    found = []

    async def there():
        found.append(await client.batches.retrieve(batch.id))
        return found[-1].status in statuses

    await eventually(there, f"it is {statuses}", within_s=60)
    return found[-1]


async def lines_of(client, file_id):
    if file_id is None:
        return []
    return [json.loads(line) for line in (await client.files.content(file_id)).text.splitlines()]


async def test_a_batch_as_openai_has_it(client, card, worker):
    lines = requests(card, 300)
    lines[7]["body"]["temperature"] = "hot"
    lines[9]["body"]["stream"] = True
    async with worker.serving(worker.echo):
        batch = await begin(client, [*lines, b"\r\n"], metadata={"of": "a test"})
        assert (batch.status, batch.metadata, batch.object) == ("validating", {"of": "a test"}, "batch")
        done = await until(client, batch, *ENDED)
    assert (done.status, done.errors) == ("completed", None)
    assert (done.request_counts.total, done.request_counts.completed, done.request_counts.failed) == (300, 298, 2)
    assert done.created_at <= done.in_progress_at <= done.finalizing_at <= done.completed_at < done.expires_at
    output, errors = [await lines_of(client, file_id) for file_id in (done.output_file_id, done.error_file_id)]
    assert [line["custom_id"] for line in output] == [f"r{n}" for n in range(300) if n not in (7, 9)], "in order"
    assert all(line["response"]["status_code"] == 200 and line["error"] is None for line in output)
    assert output[3]["response"]["body"]["echo"]["messages"][0]["content"][0] == "question 3"
    assert [(line["custom_id"], line["response"]["status_code"]) for line in errors] == [("r7", 400), ("r9", 400)]
    assert [line["response"]["body"]["error"]["param"] for line in errors] == ["temperature", "stream"]
    assert [found.id async for found in await client.batches.list()] == [batch.id]
    assert (await client.files.retrieve(done.output_file_id)).purpose == "batch_output"
    assert await worker.waiting() == 0


async def test_what_is_wrong_with_a_file_is_told_by_line(client, card, worker):
    good = request("a", chat(card.model))
    bad = [good, good, b"{\n", request("", {}), {**good, "custom_id": "c", "url": "/v1/completions"}]
    bad += [{**good, "custom_id": "d", "method": "GET"}, request("e", chat("another")), request("f", "x")]
    failed = await until(client, await begin(client, bad), *ENDED)
    assert failed.status == "failed"
    assert [(problem.line, problem.code) for problem in failed.errors.data] == [
        (2, "duplicate_custom_id"),
        (3, "invalid_json_line"),
        (4, "missing_custom_id"),
        (5, "mismatched_url"),
        (6, "invalid_method"),
        (7, "model_not_found"),
        (8, "missing_body"),
    ]
    empty = await until(client, await begin(client, [b"\n"]), *ENDED)
    assert (empty.status, empty.errors.data[0].code) == ("failed", "empty_file")
    assert await worker.waiting() == 0


async def test_too_many_lines_and_too_many_batches(start_gateway, settings, card, worker):
    few = settings.model_copy(update={"batch_max_lines": 2, "max_batches_per_tenant": 1})
    gateway = await start_gateway(few)
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="x", max_retries=0) as client:
        failed = await until(client, await begin(client, requests(card, 3)), *ENDED)
        assert failed.errors.data[0].code == "too_many_requests"
        batch = await begin(client, requests(card, 2))
        with pytest.raises(openai.RateLimitError):
            await begin(client, requests(card, 1))
        await client.batches.cancel(batch.id)
        await until(client, batch, "cancelled")
        await client.batches.cancel((await begin(client, requests(card, 1))).id)


@pytest.mark.parametrize(
    ("changed", "status", "param"),
    [
        ({"endpoint": "/v1/nothing"}, 400, "endpoint"),
        ({"completion_window": "1h"}, 400, "completion_window"),
        ({"input_file_id": "file-0"}, 404, "input_file_id"),
        ({"input_file_id": None}, 400, "input_file_id"),
        ({"metadata": {"a": 1}}, 400, "metadata"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 0}}, 400, "output_expires_after.seconds"),
    ],
)
async def test_what_cannot_be_begun_is_refused_by_name(client, gateway, changed, status, param):
    file = await client.files.create(file=("in.jsonl", b"{}"), purpose="batch")
    body = {"input_file_id": file.id, "endpoint": "/v1/chat/completions", "completion_window": "24h", **changed}
    answer = await ask(gateway, "POST", "/v1/batches", json=body)
    assert (answer.status, answer.json["error"]["param"]) == (status, param)


async def test_only_a_file_for_batches_is_one_and_only_a_batch_is_found(client, gateway):
    file = await client.files.create(file=("in.jsonl", b"{}"), purpose="user_data")
    with pytest.raises(openai.BadRequestError, match="purpose"):
        await client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    for path, method in ((f"/v1/batches/{new_batch_id()}", "GET"), ("/v1/batches/x/cancel", "POST")):
        answer = await ask(gateway, method, path)
        assert (answer.status, answer.json["error"]["code"]) == (404, "batch_not_found")
    assert (await ask(gateway, "GET", "/v1/batches?limit=0")).json["error"]["param"] == "limit"


def hesitant(worker, answered, held):
    """Answers only the first few lines."""

    async def answer(lease):
        question = json.dumps(json.loads(lease.job.body)["messages"])
        if any(f'question {n}"' in question for n in range(answered)):
            await worker.echo(lease)
        else:
            held.append(lease)

    return answer


async def test_cancelling_ends_it_soon_and_keeps_what_is_answered(client, card, worker):
    held = []
    async with worker.serving(hesitant(worker, 3, held)):
        batch = await begin(client, requests(card, 40))

        async def three():
            return (await client.batches.retrieve(batch.id)).request_counts.completed == 3 and held

        await eventually(three, "three are answered", within_s=60)
        await client.batches.cancel(batch.id)
        cancelled = await until(client, batch, "cancelled")
    assert [line["custom_id"] for line in await lines_of(client, cancelled.output_file_id)] == ["r0", "r1", "r2"]
    assert cancelled.cancelling_at <= cancelled.cancelled_at
    assert await worker.cancelled(held[0].job.id), "its worker is told"
    assert (await worker.broker.census(card.model)).batch_waiting == 0
    again = await client.batches.cancel(batch.id)
    assert again.status == "cancelled"


async def test_what_is_not_answered_in_time_expires(start_gateway, settings, card, worker):
    gateway = await start_gateway(settings.model_copy(update={"batch_window_s": 4, "batch_lines_at_once": 8}))
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="x", max_retries=0) as client:
        async with worker.serving(hesitant(worker, 2, [])):
            expired = await until(client, await begin(client, requests(card, 20)), *ENDED)
        assert expired.status == "expired"
        output, errors = [
            await lines_of(client, file_id) for file_id in (expired.output_file_id, expired.error_file_id)
        ]
    assert [line["custom_id"] for line in output] == ["r0", "r1"]
    assert [line["custom_id"] for line in errors] == [f"r{n}" for n in range(2, 20)]
    assert {line["error"]["code"] for line in errors} == {"batch_expired"}
    assert (await worker.broker.census(card.model)).batch_waiting == 0


@pytest.mark.parametrize(
    ("limit", "code"), [("files_max_bytes_per_tenant", "files_quota_exceeded"), ("files_max_bytes", "file_too_large")]
)
async def test_a_file_that_there_is_no_room_for_ends_its_batch(start_gateway, settings, card, worker, limit, code):
    lines = requests(card, 40)
    lines[7]["body"]["temperature"] = "hot"
    text = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    # The input has room, and its answers, which repeat it, have none; the one that failed does.
    gateway = await start_gateway(settings.model_copy(update={limit: len(text) + 2048}))
    counted = ("tessera_batch_files_not_made_total", {"kind": "output", "code": code})
    before = REGISTRY.get_sample_value(*counted) or 0
    with capture_logs() as logs:
        async with (
            openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="x", max_retries=0) as client,
            worker.serving(worker.echo),
        ):
            failed = await until(client, await begin(client, lines), *ENDED)
            assert (failed.status, failed.output_file_id) == ("failed", None)
            assert [problem.code for problem in failed.errors.data] == [code]
            assert [line["custom_id"] for line in await lines_of(client, failed.error_file_id)] == ["r7"]
            assert failed.request_counts.completed == 39
            assert {file.purpose async for file in await client.files.list()} == {"batch", "batch_output"}
    told = [(line["event"], line["kind"], line["code"]) for line in logs if line["event"] == "batch_file_not_made"]
    assert told == [("batch_file_not_made", "output", code)]
    assert REGISTRY.get_sample_value(*counted) == before + 1


async def test_every_line_is_answered_once_though_its_gateway_is_killed(start_gateway, settings, card, worker):
    begun: Counter[str] = Counter()

    async def slowly(lease):
        begun[lease.job.id] += 1
        await asyncio.sleep(0.02)
        await worker.echo(lease)

    waiting = await start_gateway(settings.model_copy(update={"batches_at_once": 0}))
    async with (
        gateway_process(settings) as doomed,
        worker.serving(slowly),
        openai.AsyncOpenAI(base_url=f"{waiting.url}/v1", api_key="x", max_retries=0) as client,
    ):
        batch = await begin(client, requests(card, 600))

        async def on_its_way():
            return (await client.batches.retrieve(batch.id)).request_counts.completed > 100

        await eventually(on_its_way, "some are answered", within_s=60)
        doomed.kill()
        await start_gateway(settings)
        done = await until(client, batch, *ENDED)
        output = await lines_of(client, done.output_file_id)
    assert (done.status, done.request_counts.completed) == ("completed", 600)
    assert [line["custom_id"] for line in output] == [f"r{n}" for n in range(600)]
    assert len(begun) == sum(begun.values()) == 600, "what had begun was gone on with"


async def test_lines_are_read_from_anywhere_and_in_any_pieces(monkeypatch):
    content = b'{"a":1}\n\n  \r\n{"b":2}\r\n' + b"x" * 50 + b"\nlast"

    class File:
        nbytes = len(content)

    class Files:
        async def read(self, file, start, end):
            yield content[start:end]

    for piece in (1, 3, 7, 1000):
        monkeypatch.setattr("tessera.gateway.batch_input.PIECE_BYTES", piece)
        lines = [line async for line in read_lines(Files(), File(), 20)]
        assert [line.raw for line in lines] == [b'{"a":1}', b'{"b":2}', b"", b"last"]
        assert [line.number for line in lines] == [1, 4, 5, 6]
        assert lines[-1].end == len(content)
        for at, line in enumerate(lines):
            rest = [more async for more in read_lines(Files(), File(), 20, number=line.number, offset=line.end)]
            assert rest == lines[at + 1 :]


def test_what_is_damaged_is_no_batch():
    with pytest.raises(ValueError, match="unexpected"):
        Batch.decode({b"record": b"garbage", b"status": b"x"})
