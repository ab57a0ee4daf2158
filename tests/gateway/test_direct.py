from __future__ import annotations

import asyncio

from tessera.gateway.direct import ShortWay, direct, direct_offered
from tessera.queue import Data, End
from tests.gateway.scripted import STREAM, USAGE, chat, event


async def theirs(message):
    raise AssertionError


async def servers(message):
    raise AssertionError


def test_the_servers_own_send_is_found_behind_what_wraps_it():
    scope = {"type": "http"}
    assert not direct(scope, theirs).open  # another server offers nothing
    servers_way = ShortWay(servers)
    with direct_offered(scope, servers_way):
        assert direct(scope, theirs) is servers_way
    assert direct(scope, theirs) is not servers_way


async def test_middleware_sees_the_head_of_a_stream_and_none_of_its_pieces(gateway, worker):
    seen = []
    build = gateway.app.build_middleware_stack

    def watched():
        app = build()

        async def watch(scope, receive, send):
            async def note(message):
                seen.append(message["type"])
                await send(message)

            await app(scope, receive, note)

        return watch

    gateway.app.middleware_stack = watched()
    request = gateway.http.post(gateway.url + "/v1/chat/completions", json=chat(worker.card.model, stream=True))
    asking = asyncio.ensure_future(request)
    await worker.say(await worker.take(), STREAM, event("one"), event("two"), Data(b"data: [DONE]\n\n"), End(USAGE))
    async with await asking as answer:
        assert await answer.content.read() == event("one").body + event("two").body + b"data: [DONE]\n\n"
    assert seen == ["http.response.start"]
