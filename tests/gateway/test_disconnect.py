from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from tessera.errors import Cancelled, GatewayStopping
from tessera.gateway.disconnect import cancel_on_disconnect


class Client:
    def __init__(self):
        self.gone = asyncio.Event()

    async def receive(self):
        await self.gone.wait()
        return {"type": "http.disconnect"}


@pytest.fixture
async def client():
    return Client()


async def test_work_whose_client_stays_goes_on(client):
    async with cancel_on_disconnect(client.receive):
        await asyncio.sleep(0)
    assert asyncio.current_task().cancelling() == 0


async def test_work_whose_client_leaves_is_cancelled(client):
    async def work():
        async with cancel_on_disconnect(client.receive):
            client.gone.set()
            await asyncio.Event().wait()

    with pytest.raises(Cancelled):
        await work()
    assert asyncio.current_task().cancelling() == 0


async def test_a_cancellation_that_got_lost_is_repeated(client):
    async def work():
        async with cancel_on_disconnect(client.receive):
            client.gone.set()
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            await asyncio.Event().wait()

    with pytest.raises(Cancelled):
        await work()
    assert asyncio.current_task().cancelling() == 0


@pytest.mark.parametrize("gone", [False, True])
async def test_the_cancellation_of_somebody_else_stays_one(client, gone):
    async def work():
        async with cancel_on_disconnect(client.receive):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    if gone:
        client.gone.set()
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_work_that_the_server_gives_up_is_cancelled_with_its_reason(client):
    async def receive():
        await client.gone.wait()
        raise GatewayStopping("It stops.")

    async def work():
        async with cancel_on_disconnect(receive):
            client.gone.set()
            await asyncio.Event().wait()

    with pytest.raises(GatewayStopping):
        await work()
    assert asyncio.current_task().cancelling() == 0


async def test_other_errors_pass(client):
    with pytest.raises(ZeroDivisionError):
        async with cancel_on_disconnect(client.receive):
            raise ZeroDivisionError
