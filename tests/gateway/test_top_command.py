"""``tessera top``, watching a real gateway."""

from __future__ import annotations

import asyncio

import pytest
from typer.testing import CliRunner

from tessera import cli
from tessera.local.stack import free_port
from tests.gateway.scripted import USAGE, chat

pytestmark = pytest.mark.usefixtures("nothing_from_outside")


async def run(*args: str):
    return await asyncio.to_thread(CliRunner().invoke, cli.app, ["top", *args], env={"COLUMNS": "200"})


async def test_a_table_tells_what_goes_on_by_model(gateway, worker):
    over = asyncio.Event()

    async def keep_asking():
        while not over.is_set():
            assert (await gateway.post(chat(worker.card.model))).status == 200

    async with worker.serving(worker.echo):
        asking = asyncio.create_task(keep_asking())
        away = f"http://127.0.0.1:{free_port()}"
        result = await run("--once", "--every", "0.5", "--url", gateway.url, "--url", away)
        over.set()
        await asking
    assert result.exit_code == 0, result.output
    assert "1 of 2 gateways" in result.output
    assert away in result.output, "that it does not answer is told"
    [row] = [line for line in result.output.splitlines() if f"│ {worker.card.model}" in line]
    cells = [cell.strip() for cell in row.split("│")[2:-1]]
    requests_s, tokens_s = float(cells[5]), float(cells[8].replace(",", ""))
    assert cells[0] == "1", "its workers"
    assert requests_s > 0
    assert tokens_s == pytest.approx(requests_s * USAGE["completion_tokens"], rel=0.5, abs=5)


async def test_where_no_gateway_is_it_says_so():
    url = f"http://127.0.0.1:{free_port()}"
    result = await run("--once", "--url", url)
    assert result.exit_code == 1
    assert url in result.output


async def test_a_key_is_sent_where_metrics_ask_for_one(start_gateway, settings, worker):
    gateway = await start_gateway(settings.model_copy(update={"api_key": "sk-right", "metrics_auth": True}))
    for key, code in (("sk-right", 0), ("sk-wrong", 1)):
        result = await run("--once", "--every", "0.2", "--url", gateway.url, "--api-key", key)
        assert result.exit_code == code, result.output
