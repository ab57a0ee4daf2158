"""What requests to each API hold, good ones and bad, is in no log at any level, metric, trace or operator's view."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import redis.asyncio as aioredis

from tessera.local.samples import audio
from tessera.local.stack import free_port
from tessera.queue import DeadLetters, ModelCard
from tessera.settings import SIMULATED, Settings
from tests.e2e.media import audio_part, image_part, text_part, user
from tests.environment import environment
from tests.gateway.process import gateway_process
from tests.gateway.scripted import ScriptedWorker
from tests.polling import eventually
from tests.telemetry.collector import collector
from tests.worker.simulated.worker_process import worker_process

PROMPT, QUERY, LATER = "the-prompt-itself", "sig-of-the-url", "the-prompt-of-who-crashes"
KEY, ADMIN, WRONG = "key-of-a-client", "key-of-the-operator", "key-that-is-wrong"
CHAT, RESPONSES, CONVERSATIONS = "/v1/chat/completions", "/v1/responses", "/v1/conversations"

# What each is answered with; `None`: whatever it is, as long as it is no success.
Call = tuple[str, Any, int | None]


def chat(*parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"model": SIMULATED, "messages": user(*(parts or (text_part(PROMPT),))), **fields}


def calls(dead_url: str) -> list[Call]:
    """Every API that a client can put something into, with what it takes and with what it refuses."""
    pointing = {"type": "input_image", "image_url": f"{dead_url}?token={QUERY}"}
    said, lost = {"type": "message", "role": "user", "content": PROMPT}, {"url": f"{dead_url}?token={QUERY}"}
    response, message = {"model": SIMULATED, "input": PROMPT}, {"model": SIMULATED, "max_tokens": 4}
    return [
        (CHAT, chat(image_part(), audio_part(), text_part(PROMPT)), 200),
        (CHAT, chat(stream=True, user=PROMPT), 200),
        (CHAT, chat({"type": "image_url", "image_url": lost}), None),
        (CHAT, chat({"type": "video_url", "video_url": lost}), None),
        (CHAT, chat({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PROMPT}"}}), None),
        (CHAT, chat({"type": PROMPT}), None),
        (CHAT, chat({"type": {PROMPT: PROMPT}}), None),
        (CHAT, chat(temperature=PROMPT, stop=[PROMPT] * 99), None),
        (CHAT, chat(simulate={"fail_after_tokens": 1}), None),
        (CHAT, chat() | {"model": "no-model"}, None),
        ("/v1/completions", {"model": SIMULATED, "prompt": PROMPT}, 200),
        ("/v1/completions", {"model": SIMULATED, "prompt": {PROMPT: 1}}, None),
        ("/v1/messages", {**message, "messages": [{"role": "user", "content": PROMPT}]}, 200),
        ("/v1/messages", {**message, "messages": [{"role": "user", "content": [{"type": PROMPT}]}]}, None),
        ("/v1/messages", {**message, "messages": [{"role": PROMPT, "content": PROMPT}]}, None),
        (RESPONSES, {**response, "store": True}, 200),
        (RESPONSES, {**response, "input": [{**said, "content": [pointing]}]}, None),
        (RESPONSES, {**response, "input": [{**said, "type": PROMPT}]}, None),
        (RESPONSES, {**response, "tools": [{"type": PROMPT}]}, None),
        (RESPONSES, {**response, "previous_response_id": "resp_0"}, None),
        (CONVERSATIONS, {"items": [said], "metadata": {"topic": PROMPT}}, 200),
        (CONVERSATIONS, {"items": [{"type": PROMPT, "role": PROMPT}]}, None),
        ("/v1/estimate", chat(), 200),
        ("/v1/embeddings", {"model": SIMULATED, "input": PROMPT}, None),
        ("/v1/batches", {"input_file_id": PROMPT, "endpoint": CHAT, "completion_window": "24h"}, None),
        ("/v1/load_lora_adapter", {"lora_name": PROMPT, "lora_path": f"/x?token={QUERY}"}, None),
        (CHAT, f'{{"messages": "{PROMPT}'.encode(), None),
    ]  # fmt: skip


class Client:
    """Asks a gateway, and keeps what it may not hold."""

    def __init__(self, http: aiohttp.ClientSession, url: str, key: str):
        self._http, self._url, self._key = http, url, key

    async def post(self, path: str, body: Any, key: str = "", **headers: str) -> tuple[int, bytes]:
        data = body if isinstance(body, (bytes, aiohttp.FormData)) else json.dumps(body).encode()
        head = {"Authorization": f"Bearer {key or self._key}", **headers}
        if isinstance(data, bytes):
            head["Content-Type"] = "application/json"
        async with self._http.post(f"{self._url}{path}?q={QUERY}", data=data, headers=head) as response:
            return response.status, await response.read()

    async def file(self, content: bytes, purpose: str) -> tuple[int, bytes]:
        form = aiohttp.FormData()
        form.add_field("purpose", purpose)
        form.add_field("file", io.BytesIO(content), filename=f"{PROMPT}.jsonl")
        return await self.post("/v1/files", form)

    async def batch(self) -> str:
        """The id of a batch of a good line and a bad one."""
        lines = [{"custom_id": f"{PROMPT}-{n}", "method": "POST", "url": CHAT, "body": chat(n=n)} for n in (1, "x")]
        status, raw = await self.file(b"".join(json.dumps(line).encode() + b"\n" for line in lines), "batch")
        assert status == 200, raw
        made = {"input_file_id": json.loads(raw)["id"], "endpoint": CHAT, "completion_window": "24h"}
        status, raw = await self.post("/v1/batches", made)
        assert status == 200, raw
        return str(json.loads(raw)["id"])

    async def transcribe(self, content: bytes) -> int:
        form = aiohttp.FormData({"model": SIMULATED, "prompt": PROMPT})
        form.add_field("file", io.BytesIO(content), filename=f"{PROMPT}.wav")
        return (await self.post("/v1/audio/transcriptions", form))[0]

    async def ready(self) -> bool:
        async with self._http.get(f"{self._url}/readyz") as response:
            return response.status == 200

    async def get(self, path: str) -> Any:
        async with self._http.get(f"{self._url}{path}", headers={"Authorization": f"Bearer {self._key}"}) as response:
            return await (response.json() if "json" in response.content_type else response.text())


def operate(settings: Settings, *arguments: str) -> str:
    """What a command of the operator's prints."""
    argv = [sys.executable, "-m", "tessera", *arguments]
    ran = subprocess.run(argv, env=environment(settings), capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout + ran.stderr


async def set_aside(client: Client, worker: ScriptedWorker) -> str:
    """Have a request end as many engines as it may. Returns its id."""
    await worker.announce()
    await eventually(client.ready, "the gateway knows of the worker")
    asked = asyncio.create_task(client.post(CHAT, chat(text_part(LATER))))
    for _ in range(Settings().max_attempts):
        lease = await worker.take()
        await worker.broker.release(SIMULATED, [lease], failed=True)
    status, raw = await asked
    assert (status, json.loads(raw)["error"]["code"]) == (500, "poison_request")
    return lease.job.id


async def test_nothing_that_an_api_is_given_is_told(
    redis_url: str, redis_client: aioredis.Redis, tmp_path: Path, media_server: Any
) -> None:
    port = free_port()
    async with collector() as traces, aiohttp.ClientSession() as http:
        common = Settings(
            redis_url=redis_url, redis_prefix=f"test-{tmp_path.name}", log_format="json", log_level="debug",
            otlp_endpoint=traces.url, worker_metrics_port=port, lease_s=2.0,
        )  # fmt: skip
        own = {
            "api_key": KEY, "admin_key": ADMIN, "media_allow_private_networks": True, "media_threads": 1,
            "files_store_url": (tmp_path / "store").as_uri(),
        }  # fmt: skip
        told = []
        async with gateway_process(common, tmp_path, **own) as gateway:
            url = f"http://127.0.0.1:{gateway.port}"
            client = Client(http, url, KEY)
            with worker_process(common, tmp_path / "worker.log") as worker:
                await eventually(client.ready, "a worker serves")
                for path, body, expected in calls(media_server.serve("/x.png", b"no picture")):
                    status, raw = await client.post(path, body)
                    assert status == expected if expected else 400 <= status < 600, (path, body, status, raw)
                    assert (await client.post(path, body, WRONG))[0] in (401, 403)
                batch = await client.batch()
                await client.file(PROMPT.encode(), PROMPT)
                for content in (audio(), PROMPT.encode()):
                    assert await client.transcribe(content) >= 400, "what is simulated hears nothing"

                async def ended() -> bool:
                    return (await client.get(f"/v1/batches/{batch}"))["status"] == "completed"

                await eventually(ended, "the batch has ended", within_s=60)
                async with http.get(f"http://127.0.0.1:{port}/metrics") as response:
                    told.append(await response.text())
                worker.terminate()
                worker.wait(30)
                told.append(worker.log.read_text())
            scripted = ScriptedWorker(redis_client, common, ModelCard(SIMULATED, "/m", 4096, sequences=4))
            dead = await set_aside(client, scripted)
            told += [
                operate(common, "explain", dead),
                operate(common, "dead", "list"),
                operate(common, "dead", "show", dead),
            ]
            [letter] = await DeadLetters(redis_client, scripted.broker.keys).of(SIMULATED)
            job = await DeadLetters(redis_client, scripted.broker.keys).job(letter)
            assert job is not None
            assert LATER.encode() in job.body, "it is there, and shown only to whom asks for the body"
            told.append(await client.get("/metrics"))
            gateway.terminate()
            assert await gateway.ended() == 0
        told += [(tmp_path / "gateway.log").read_text(), repr(traces.spans)]
    assert {span.name for span in traces.spans} >= {f"POST {CHAT}", f"POST {RESPONSES}", "media", "queue", "worker"}
    picture = base64.b64decode(image_part()["image_url"]["url"].partition(",")[2])
    sound = audio_part()["audio_url"]["url"].partition(",")[2] if "audio_url" in audio_part() else ""
    secrets = (PROMPT, QUERY, LATER, KEY, ADMIN, WRONG, base64.b64encode(picture).decode()[:40], sound[:40])
    for secret in filter(None, secrets):
        found = [line[:400] for text in told for line in text.splitlines() if secret in line]
        assert not found, (secret, found[:3])
