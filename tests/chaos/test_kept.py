"""What earlier versions have kept for long is as it was, and what of it had not ended goes on."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import openai
import pytest
from redis import Redis

from tessera.queue import Adapters, DeadLetters, Lease, connect
from tessera.settings import Settings
from tests.chaos.kept import (
    ADAPTER,
    ADAPTER_PATH,
    ALIAS,
    KEPT_FOLDER,
    LINES,
    MODEL,
    TARGETS,
    Kept,
    answer,
    batch_as,
    card,
    items_of,
    output_of,
)
from tests.gateway.gateway_process import gateway_process
from tests.gateway.scripted import OwnRedis, ScriptedWorker
from tests.gateway.test_adapters import Loader
from tests.polling import eventually


@pytest.mark.parametrize("path", sorted(KEPT_FOLDER.glob("*.json")), ids=lambda path: path.stem)
async def test_what_an_earlier_version_kept_is_there_and_goes_on(tmp_path: Path, path: Path) -> None:
    kept, store = Kept.read(path), tmp_path / "store"
    told = kept.told
    server = OwnRedis(tmp_path)
    await server.start()
    with Redis.from_url(server.url) as redis:
        kept.restore(redis, store)
    settings = Settings(redis_url=server.url, files_store_url=store.as_uri(), log_format="json")
    commands = connect(settings, name="worker")
    worker = ScriptedWorker(commands, settings, card())
    # It begins with what is recorded, as every worker does.
    loader = Loader(worker, Adapters(commands, worker.broker.keys))
    await loader.look()
    adapters = []

    async def answering(lease: Lease) -> None:
        adapters.append(lease.job.adapter)
        await answer(worker, lease)

    try:
        async with (
            gateway_process(settings) as gateway,
            openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="x", max_retries=0) as client,
        ):
            # What had ended.
            file = told["file"]
            assert (await client.files.retrieve(file["object"]["id"])).to_dict() == file["object"]
            assert (await client.files.content(file["object"]["id"])).text == file["content"]
            ended = told["batch"]["object"]
            assert await batch_as(client, ended["id"], "completed") == ended
            assert await output_of(client, ended) == told["batch"]["output"]
            assert (await client.responses.retrieve(told["response"]["id"])).to_dict() == told["response"]
            conversation = told["conversation"]
            kept_id = conversation["object"]["id"]
            assert (await client.conversations.retrieve(kept_id)).to_dict() == conversation["object"]
            assert await items_of(client, kept_id) == conversation["items"]
            assert loader.host.loads == [ADAPTER_PATH]
            assert (await client.models.retrieve(ADAPTER)).to_dict()["parent"] == MODEL
            assert (await client.models.retrieve(ALIAS)).to_dict()["targets"] == TARGETS
            letters = DeadLetters(commands, worker.broker.keys)
            [letter] = await letters.of(MODEL)
            assert json.loads(json.dumps(asdict(letter))) == told["dead"]
            job = await letters.job(letter)
            assert job is not None
            assert b"Crash." in job.body
            # What had not.
            async with worker.serving(answering):
                done = await batch_as(client, told["open batch"], "completed")
                lines = [json.loads(line) for line in (await output_of(client, done)).splitlines()]
                assert [line["custom_id"] for line in lines] == [f"r{n}" for n in range(LINES)]
                # Answered before, and not once more.
                assert lines[0]["response"]["body"]["id"] == "chatcmpl-1"
                assert done["request_counts"] == {"completed": LINES, "failed": 0, "total": LINES}

                async def completed() -> bool:
                    return (await client.responses.retrieve(told["open response"])).status == "completed"

                await eventually(completed, "the response in the background", within_s=60)
                said = [item["content"][0]["text"] for item in await items_of(client, told["open conversation"])]
                assert said[0] == "Later."
                assert said[1].startswith("You said: ")
                for name, before in (
                    ("Ada", {"previous_response_id": told["response"]["id"]}),
                    ("Grace", {"conversation": kept_id}),
                ):
                    more = await client.responses.create(model=MODEL, input="Who am I?", **before)
                    assert f"My name is {name}." in more.output_text
                adapters.clear()
                for name in (ADAPTER, ALIAS):
                    await client.responses.create(model=name, input="Hello.", store=False)
                assert adapters == [ADAPTER, ADAPTER]
    finally:
        await commands.aclose()
        server.kill()
