"""What requests hold, and what opens the server, is in no log and in no metric."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import aiohttp

from tessera.settings import SIMULATED, Settings
from tests.e2e.media import audio_part, image_part, text_part, user
from tests.gateway.process import gateway_process
from tests.polling import eventually
from tests.worker.simulated.worker_process import worker_process

PROMPT, QUERY, FRAGMENT, PASSWORD = "the-prompt-itself", "sig-of-the-url", "frag-of-the-url", "password-in-the-url"
KEY, ADMIN, WRONG = "key-of-a-client", "key-of-the-operator", "key-that-is-wrong"


def remote(kind: str, url: str) -> dict[str, object]:
    return {"type": f"{kind}_url", f"{kind}_url": {"url": url}}


async def test_nothing_that_is_secret_is_told(redis_url: str, tmp_path: Path, media_server) -> None:
    common = Settings(redis_url=redis_url, redis_prefix=f"test-{tmp_path.name}", log_format="json", log_level="debug")
    own = {"api_key": KEY, "admin_key": ADMIN, "media_allow_private_networks": True, "media_threads": 1}
    away, there = f"{media_server.url}/away?token={QUERY}#{FRAGMENT}", media_server.serve("/x.png", b"no picture")
    inside = there.replace("http://", f"http://user:{PASSWORD}@")
    broken = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PROMPT}"}}
    contents = [
        [image_part(), audio_part(), text_part(PROMPT)],
        [broken],
        *(
            [remote("image", url)]
            for url in (away, f"{there}?token={QUERY}", inside, f"http://nowhere.invalid./x?token={QUERY}")
        ),
        [remote("video", f"ftp://nowhere/x?token={QUERY}")],
    ]
    bodies = [json.dumps({"model": SIMULATED, "messages": user(*content)}).encode() for content in contents]
    bodies += [
        f'{{"model": "{SIMULATED}", "messages": [{{"role": "{PROMPT}"}}]}}'.encode(),
        f'{{"messages": "{PROMPT}'.encode(),
    ]
    with worker_process(common, tmp_path / "worker.log") as worker:
        async with gateway_process(common, tmp_path, **own) as gateway, aiohttp.ClientSession() as http:
            url = f"http://127.0.0.1:{gateway.port}"

            async def ready() -> bool:
                async with http.get(f"{url}/readyz") as response:
                    return response.status == 200

            await eventually(ready, "a worker serves", within_s=30)
            statuses = []
            for key in (KEY, WRONG):
                for body in bodies:
                    head = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
                    async with http.post(f"{url}/v1/chat/completions?q={QUERY}", data=body, headers=head) as response:
                        await response.read()
                        statuses.append(response.status)
            async with http.get(f"{url}/admin/v1/requests/x", headers={"x-api-key": ADMIN}) as response:
                assert response.status == 404
            async with http.get(f"{url}/metrics") as response:
                metrics = await response.text()
            gateway.terminate()
            assert await gateway.ended() == 0
        worker.terminate()
        worker.wait(30)
    assert statuses[0] == 200
    assert all(400 <= status < 500 for status in statuses[1 : len(bodies)]), statuses
    assert statuses[len(bodies) :] == [401] * len(bodies)
    assert gateway.events().count("request_failed") == len(bodies) - 1
    assert gateway.events().count("request_answered") == 1
    told = "\n".join([(tmp_path / "gateway.log").read_text(), worker.log.read_text(), metrics])
    picture = base64.b64decode(image_part()["image_url"]["url"].partition(",")[2])
    for secret in (PROMPT, QUERY, FRAGMENT, PASSWORD, KEY, ADMIN, WRONG, base64.b64encode(picture).decode()[:40]):
        assert secret not in told, [line for line in told.splitlines() if secret in line][:3]
