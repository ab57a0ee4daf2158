"""Batches outlive the worker that answers them, the gateway that runs them, and their Redis."""

from __future__ import annotations

import json
from pathlib import Path

import openai
import pytest

from tessera.settings import Settings
from tests.gateway.gateway_process import gateway_process
from tests.gateway.scripted import OwnRedis
from tests.polling import eventually
from tests.worker.simulated.worker_process import worker_process

TOKENS, LINES, ANSWERED = 20, 200, 40
HEAL_S = 150


@pytest.mark.timeout(300)
async def test_every_line_is_answered_once_and_in_order(tmp_path: Path) -> None:
    redis = OwnRedis(tmp_path)
    await redis.start()
    settings = Settings(
        redis_url=redis.url,
        redis_prefix="chaos",
        lease_s=2.0,
        redis_outage_s=60.0,
        files_store_url=(tmp_path / "store").as_uri(),
        batch_lines_at_once=32,
        simulated_answer_tokens=TOKENS,
        simulated_decode_step_ms=40.0,
        log_format="json",
    )
    # It takes no batch up, so that the other one does.
    asked_only = Settings(**settings.model_dump(exclude_unset=True) | {"batches_at_once": 0})
    try:
        with worker_process(settings, tmp_path / "1.log") as worker, worker_process(settings, tmp_path / "2.log"):
            async with gateway_process(asked_only) as asked, gateway_process(settings) as runner:
                client = openai.AsyncOpenAI(base_url=f"{asked.url}/v1", api_key="x", max_retries=0)
                async with client:
                    batch_id = await begin(client)
                    await eventually(lambda: answered(client, batch_id, ANSWERED), "some are answered", within_s=HEAL_S)
                    worker.kill()
                    runner.kill()
                    redis.kill()
                    await redis.start()
                    async with gateway_process(settings):
                        ended = ("completed", "failed", "expired", "cancelled")
                        await eventually(lambda: status(client, batch_id, *ended), "it has ended", within_s=HEAL_S)
                        batch = await client.batches.retrieve(batch_id)
                        assert (batch.status, batch.error_file_id) == ("completed", None)
                        counts = batch.request_counts
                        assert counts is not None
                        assert (counts.total, counts.completed, counts.failed) == (LINES, LINES, 0)
                        assert batch.output_file_id is not None
                        lines = (await client.files.content(batch.output_file_id)).text.splitlines()
    finally:
        redis.kill()
    answers = [json.loads(line) for line in lines]
    assert [answer["custom_id"] for answer in answers] == [f"r{n}" for n in range(LINES)]
    said = [answer["response"]["body"]["choices"][0]["message"]["content"].split() for answer in answers]
    assert all([int(token.split(".")[1]) for token in tokens] == list(range(TOKENS)) for tokens in said)
    assert len({tokens[0] for tokens in said}) == LINES, "each is the answer to its own question"


async def begin(client: openai.AsyncOpenAI) -> str:
    texts = []
    for n in range(LINES):
        body = {"model": "simulated", "messages": [{"role": "user", "content": f"Number {n}"}]}
        line = {"custom_id": f"r{n}", "method": "POST", "url": "/v1/chat/completions", "body": body}
        texts.append(json.dumps(line).encode())
    file = await client.files.create(file=("in.jsonl", b"\n".join(texts)), purpose="batch")
    how = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
    return (await client.batches.create(input_file_id=file.id, **how)).id  # type: ignore[arg-type]


async def answered(client: openai.AsyncOpenAI, batch_id: str, least: int) -> bool:
    counts = (await client.batches.retrieve(batch_id)).request_counts
    return counts is not None and counts.completed >= least


async def status(client: openai.AsyncOpenAI, batch_id: str, *wanted: str) -> bool:
    try:
        return (await client.batches.retrieve(batch_id)).status in wanted
    except openai.InternalServerError:
        return False  # Redis is not back yet
