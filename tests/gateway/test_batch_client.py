"""``tessera batch``, against a real gateway and a worker that says what it is asked."""

from __future__ import annotations

import asyncio
import json

import openai
import pytest
from rich.console import Console
from typer.testing import CliRunner

from tessera.batch_client import run as runs
from tessera.batch_client.note import Note
from tessera.batch_client.run import BatchFailed, Job, cancel, run
from tessera.batch_client.server import Server, Unreachable
from tessera.cli import app
from tessera.gateway import batch_runner
from tests.gateway.scripted import chat
from tests.polling import eventually


@pytest.fixture
def settings(settings, tmp_path):
    return settings.model_copy(update={"files_store_url": (tmp_path / "store").as_uri(), "lease_s": 2.0})


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(batch_runner, "LOOK_EVERY_S", 0.1)
    monkeypatch.setattr(runs, "POLL_S", 0.05)
    monkeypatch.setattr(runs, "RETRY_S", 0.05)


@pytest.fixture
def console(tmp_path):
    with (tmp_path / "told").open("w") as file:
        yield Console(file=file, width=200)


@pytest.fixture
async def client(gateway):
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="x", max_retries=0) as client:
        yield client


@pytest.fixture
def job(tmp_path, card):
    return written(tmp_path, [request(card.model, n) for n in range(20)])


def request(model, n):
    return {"custom_id": f"r{n}", "method": "POST", "url": "/v1/chat/completions", "body": chat(model, f"question {n}")}


def written(folder, lines, **options):
    path = folder / "in.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Job(path, folder / "out.jsonl", folder / "out.jsonl.errors", **options)


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_a_file_of_requests_is_answered(gateway, worker, client, job, console, tmp_path):
    lines = lines_of(job.input)
    lines[7]["body"]["temperature"] = "hot"
    job = written(tmp_path, lines)
    async with worker.serving(worker.echo):
        assert await run(job, gateway.url, "", console) == 1
    answers = lines_of(job.output)
    assert [answer["custom_id"] for answer in answers] == [f"r{n}" for n in range(20) if n != 7]
    assert "question 3" in json.dumps(answers[3]["response"]["body"])
    [failed] = lines_of(job.errors)
    assert failed["custom_id"] == "r7"
    assert not Note.beside(job.output).exists()
    assert (await client.files.list()).data == [], "nothing is left at the server"


async def test_its_files_are_kept_at_the_server_if_it_is_told_to(gateway, worker, client, card, console, tmp_path):
    job = written(tmp_path, [request(card.model, 1)], keep=True)
    async with worker.serving(worker.echo):
        assert await run(job, gateway.url, "", console) == 0
    assert not job.errors.exists()
    assert sorted(file.purpose for file in (await client.files.list()).data) == ["batch", "batch_output"]


async def test_stopped_and_started_again_it_goes_on(gateway, worker, client, job, console):
    first = asyncio.create_task(run(job, gateway.url, "", console))
    await eventually(Note.beside(job.output).exists, "it was begun")
    first.cancel()
    await asyncio.wait([first])
    async with worker.serving(worker.echo):
        assert await run(job, "http://127.0.0.1:9", "", console) == 0, "the note says where it runs"
    assert len(lines_of(job.output)) == 20
    assert len((await client.batches.list()).data) == 1


async def test_a_gateway_that_is_away_is_waited_for(gateway, worker, job, console, monkeypatch):
    ask, refusals = Server.find, [Unreachable("away")] * 3

    async def find(server, batch_id):
        if refusals:
            raise refusals.pop()
        return await ask(server, batch_id)

    monkeypatch.setattr(Server, "find", find)
    async with worker.serving(worker.echo):
        assert await run(job, gateway.url, "", console) == 0
    assert refusals == []


async def test_what_was_answered_before_it_was_cancelled_is_there(gateway, worker, client, job, console):
    running = asyncio.create_task(run(job, gateway.url, "", console))
    await eventually(Note.beside(job.output).exists, "it was begun")
    lease = await worker.take()
    await worker.echo(lease)

    async def counted():
        return (await client.batches.list()).data[0].request_counts.completed == 1

    await eventually(counted, "it is answered")
    async with asyncio.timeout(30):
        await cancel(job.output, "")
        with pytest.raises(BatchFailed, match="`cancelled`"):
            await running
    assert [answer["custom_id"] for answer in lines_of(job.output)] == ["r0"]
    assert not Note.beside(job.output).exists()
    with pytest.raises(BatchFailed, match="No batch runs"):
        await cancel(job.output, "")


async def test_lines_that_are_no_requests_are_named(gateway, worker, card, console, tmp_path):
    job = written(tmp_path, [request(card.model, 1), {"custom_id": "x"}])
    with pytest.raises(BatchFailed, match=r"`failed`.\nline 2: "):
        await run(job, gateway.url, "", console)
    assert not job.output.exists()
    assert not Note.beside(job.output).exists()


async def test_what_stands_in_the_way_of_the_output(gateway, job, console):
    job.output.write_text("precious")
    with pytest.raises(BatchFailed, match=r"out.jsonl exists"):
        await run(job, gateway.url, "", console)
    job.output.unlink()
    Note(gateway.url, "batch_1", "of another input").write(job.output)
    with pytest.raises(BatchFailed, match="is not what the batch"):
        await run(job, gateway.url, "", console)
    Note.beside(job.output).write_text("{}")
    with pytest.raises(BatchFailed, match="not written by this command"):
        await run(job, gateway.url, "", console)


async def test_a_batch_that_is_gone(gateway, job, console):
    Note(gateway.url, "batch_1", runs.digest(job.input)).write(job.output)
    with pytest.raises(BatchFailed, match=r"Delete .*out.jsonl.batch to begin anew"):
        await run(job, gateway.url, "", console)


def test_the_command_says_what_is_wrong_and_with_what_to_begin(tmp_path):
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("\n[1]\n")
    said = CliRunner().invoke(app, ["batch", "run", str(source), str(output)])
    assert said.exit_code == 1
    assert "no request with a `url`" in said.output
    nobody = ["--url", "http://127.0.0.1:9", "--endpoint", "/v1/embeddings"]
    said = CliRunner().invoke(app, ["batch", "run", str(source), str(output), *nobody])
    assert said.exit_code == 1
    assert "is `tessera up` running?" in said.output
