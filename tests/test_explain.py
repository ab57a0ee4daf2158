"""`tessera explain`, as an operator types it."""

from __future__ import annotations

import json

import pytest
import redis.asyncio as aioredis
from typer.testing import CliRunner

from tessera import flags
from tessera.cli import app
from tessera.queue import Append, Broker, Data, Directory, End, Head, Job, ModelCard
from tessera.settings import Settings

pytestmark = pytest.mark.usefixtures("nothing_from_outside")
MODEL = "org/model"
ABOUT = {
    "media": [{"modality": "image", "shape": [4, 5, 3], "bytes": 1060, "digest": "abc"}],
    "gateway_ms": {"body": 1.5},
}


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    # It changes the whole process.
    monkeypatch.setattr(flags.logging, "configure", lambda settings: None)


@pytest.fixture
async def job(redis_client: aioredis.Redis, settings: Settings) -> Job:
    """One that was answered."""
    broker = Broker(redis_client, settings)
    await Directory(redis_client, broker.keys).announce("w", ModelCard(MODEL, "/m", 100), ttl_s=60)
    job = Job("the-job", MODEL, "/v1/chat/completions", b"{}", stream=True, tenant="team-a", about=ABOUT)
    await broker.enqueue(job, reply_to="g")
    [lease] = await broker.lease(MODEL, "worker-1", free=1, capacity=1, most=1)
    entries = [Head(200, "text/event-stream").encode(), Data(b"x").encode(), End({"prompt_tokens": 1234}).encode()]
    await broker.append(MODEL, [Append(job.id, lease.epoch, 0, entries, final=True)])
    return job


@pytest.fixture
async def waiting_job(redis_client: aioredis.Redis, settings: Settings) -> Job:
    """One that waits, for an adapter of a model."""
    broker = Broker(redis_client, settings)
    await Directory(redis_client, broker.keys).announce("w", ModelCard(MODEL, "/m", 100), ttl_s=60)
    job = Job("another-job", MODEL, "/v1/completions", b"{}", adapter="poet", about={"alias": "best"})
    await broker.enqueue(job, reply_to="g")
    return job


def run(settings: Settings, *arguments: str) -> tuple[int, str]:
    env = {"TESSERA_REDIS_URL": settings.redis_url, "TESSERA_REDIS_PREFIX": settings.redis_prefix}
    result = CliRunner().invoke(app, ["explain", *arguments], env=env)
    return result.exit_code, result.output


def test_for_people(job: Job, settings: Settings) -> None:
    code, said = run(settings, f"chatcmpl-{job.id}")
    assert code == 0, said
    lines = said.splitlines()
    assert lines[0] == job.id
    assert lines[1] == f"  {MODEL}  /v1/chat/completions  stream  tenant team-a  gateway g"
    assert lines[2:4] == ["  image 4 × 5 × 3, 1,060 bytes, abc", "  before the queue: body 1.5 ms"]
    assert [line.split(" ms  ")[1] for line in lines[4:8]] == ["queued", "taken  worker-1", "answer began", "finished"]
    assert lines[8].startswith(
        "  finished, status 200, 1,234 prompt tokens, 3 pieces of its answer are kept, forgotten in "
    )


def test_an_alias_and_an_adapter_are_named(waiting_job: Job, settings: Settings) -> None:
    _, said = run(settings, waiting_job.id)
    assert said.splitlines()[1].startswith(f"  {MODEL}, adapter poet, by its alias best  /v1/completions  ")


def test_for_programs(job: Job, settings: Settings) -> None:
    code, said = run(settings, job.id, "--json", "--model", MODEL)
    assert code == 0
    assert json.loads(said)["tokens"] == {"prompt": 1234}


def test_what_is_not_known(job: Job, settings: Settings) -> None:
    code, said = run(settings, "another")
    assert code == 1
    assert "No request another is known" in said
    assert "TESSERA_REPLY_TTL_S" in said
