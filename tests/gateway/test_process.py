from __future__ import annotations

from contextlib import AsyncExitStack

from tests.gateway.process import gateway_process
from tests.gateway.raw import connected
from tests.polling import eventually

GET = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_more_silent_connections_than_file_descriptors_leave_it_answering(settings, tmp_path):
    async with gateway_process(settings, tmp_path, descriptors=1024) as gateway, AsyncExitStack() as crowd:
        for _ in range(1100):
            await crowd.enter_async_context(connected(gateway.port))

        async def answers():
            async with connected(gateway.port) as client:
                client.send(GET)
                return (await client.answer()).status == 200

        await eventually(answers, "one of the silent ones gives way")
    lines = [line for line in gateway.log() if line["event"] == "connection_limit_reached"]
    assert [(line["level"], line["limit"]) for line in lines[:1]] == [("warning", 768)]
