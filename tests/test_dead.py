"""The commands for requests that were set aside."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import redis.asyncio as aioredis
from typer.testing import CliRunner

from tessera import cli, flags
from tessera.queue import Broker, Directory, Job, ModelCard, connect, new_job_id
from tessera.settings import Settings

MODEL = "org/m"
BODY = b'{"messages":[{"content":"tessera-media:abc"}]}'


@pytest.fixture(autouse=True)
def alone(nothing_from_outside, monkeypatch):
    # It changes the whole process.
    monkeypatch.setattr(flags.logging, "configure", lambda settings: None)


@pytest.fixture
def settings(redis_url):
    return Settings(redis_url=redis_url, redis_prefix=f"test-{secrets.token_hex(4)}", max_dead_bytes=1000)


@pytest.fixture
def run(settings):
    def invoke(*args: str, **env: str) -> Any:
        known = {"TESSERA_REDIS_URL": settings.redis_url, "TESSERA_REDIS_PREFIX": settings.redis_prefix}
        return CliRunner().invoke(cli.app, ["dead", *args], env={"COLUMNS": "200", **known, **env})

    return invoke


def on_redis(settings: Settings, work: Callable[[Broker, aioredis.Redis], Awaitable[Any]]) -> Any:
    async def done() -> Any:
        client = connect(settings, name="test")
        try:
            return await work(Broker(client, settings), client)
        finally:
            await client.aclose()

    return asyncio.run(done())


def die(settings: Settings, *, model: str = MODEL, body: bytes = BODY) -> str:
    """A request under which three workers die. Returns its id."""

    async def kill(broker: Broker, client: aioredis.Redis) -> str:
        card = ModelCard(model, "root", 100)
        await Directory(client, broker.keys).announce("w", card, ttl_s=60)
        job = Job(new_job_id("r"), model, "/v1/chat/completions", body, 2)
        await broker.enqueue(job, reply_to="g")
        for turn in range(3):
            leases = await broker.lease(model, f"w{turn}", free=4, capacity=4, most=1)
            await broker.release(model, leases, failed=True)
        return job.id

    return str(on_redis(settings, kill))


def test_list_tells_which_there_are(run, settings):
    assert run("list").stdout == ""
    first, second = die(settings), die(settings, model="other")
    lines = [line.split("\t") for line in run("list").stdout.splitlines()]
    assert [line[1:] for line in lines] == [
        [second, "other", "poison_request", "3", str(len(BODY))],
        [first, MODEL, "poison_request", "3", str(len(BODY))],
    ]
    assert [entry["id"] for entry in json.loads(run("list", "--json").stdout)] == [second, first]
    assert [entry["id"] for entry in json.loads(run("list", "--json", "--model", MODEL).stdout)] == [first]


def test_a_person_sees_a_table(run, settings):
    job_id = die(settings)
    told = run("list", FORCE_COLOR="1").stdout
    assert "workers that died" in told
    assert job_id in told


def test_show_tells_what_it_was_and_never_its_body_unless_asked(run, settings):
    job_id = die(settings)
    told = run("show", job_id).stdout
    assert "/v1/chat/completions" in told
    assert [f"w{turn} (failed)" in told for turn in range(3)] == [True] * 3
    described = json.loads(run("show", job_id, "--json").stdout)
    assert [death["worker"] for death in described["deaths"]] == ["w0", "w1", "w2"]
    assert "tessera-media" not in told + json.dumps(described)
    assert run("show", job_id, "--body").stdout_bytes == BODY + b"\n"


def test_retry_runs_it_as_a_new_job_of_which_no_worker_has_died(run, settings):
    job_id = die(settings)
    result = run("retry", job_id)
    assert result.exit_code == 0

    async def take(broker: Broker, client: aioredis.Redis) -> Any:
        assert await broker.reap(MODEL) == (0, 0, 0), "it ends with no gateway"
        return await broker.lease(MODEL, "w", free=4, capacity=4, most=4)

    [lease] = on_redis(settings, take)
    assert lease.job.id in result.stdout
    assert lease.job.id != job_id
    assert (lease.job.body, lease.job.sequences, lease.attempts, lease.width) == (BODY, 2, 1, 2)
    assert run("list").stdout == ""


def test_drop_forgets_it(run, settings):
    job_id = die(settings)
    assert run("drop", job_id).exit_code == 0
    assert run("list").stdout == ""


@pytest.mark.parametrize("command", ["show", "retry", "drop"])
def test_an_unknown_id_is_told(run, settings, command):
    die(settings)
    result = run(command, "nosuch")
    assert result.exit_code == 1
    assert f"There is no dead letter `nosuch` of `{MODEL}`" in result.stderr
    assert "no dead letter `nosuch` of `else`" in run(command, "nosuch", "--model", "else").stderr


@pytest.mark.parametrize("arguments", [["retry"], ["show", "--body"]])
def test_a_body_that_was_too_large_to_be_kept_is_told(run, settings, arguments):
    job_id = die(settings, body=b"x" * 1001)
    result = run(*arguments, job_id)
    assert result.exit_code == 1
    assert "it has 1001 bytes (TESSERA_MAX_DEAD_BYTES)" in result.stderr
    assert job_id in run("list").stdout


def test_a_queue_without_room_is_told_and_the_letter_stays(run, settings):
    job_id = die(settings)

    async def fill(broker: Broker, client: aioredis.Redis) -> None:
        await broker.enqueue(Job(new_job_id(), MODEL, "/", b""), reply_to="g")

    on_redis(settings, fill)
    result = run("retry", job_id, TESSERA_MAX_QUEUED_JOBS="1")
    assert result.exit_code == 1
    assert "1 requests are already waiting" in result.stderr
    assert job_id in run("list").stdout


def test_a_redis_that_is_away_is_told(run):
    result = run("list", TESSERA_REDIS_URL="redis://127.0.0.1:1")
    assert result.exit_code == 1
    assert "TESSERA_REDIS_URL cannot be reached" in result.stderr


def test_no_redis_at_all(run):
    result = run("list", TESSERA_REDIS_URL="")
    assert result.exit_code == 2
    assert "TESSERA_REDIS_URL is not set" in result.stderr
