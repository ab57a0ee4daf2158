"""`tessera alias`."""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import Any

import pytest
from typer.testing import CliRunner

from tessera import cli, flags
from tessera.queue import Directory, ModelCard, connect
from tessera.queue.keys import Keys
from tessera.settings import Settings


@pytest.fixture(autouse=True)
def alone(nothing_from_outside, monkeypatch):
    # It changes the whole process.
    monkeypatch.setattr(flags.logging, "configure", lambda settings: None)


@pytest.fixture
def settings(redis_url):
    settings = Settings(redis_url=redis_url, redis_prefix=f"test-{secrets.token_hex(4)}")

    async def serve() -> None:
        client = connect(settings, name="test")
        directory = Directory(client, Keys(settings.redis_prefix))
        for name in ("big-v1", "a=1"):
            await directory.announce(f"worker of {name}", ModelCard(name, "/", 1), ttl_s=600)
        await client.aclose()

    asyncio.run(serve())
    return settings


@pytest.fixture
def run(settings):
    def invoke(*args: str, **env: str) -> Any:
        known = {"TESSERA_REDIS_URL": settings.redis_url, "TESSERA_REDIS_PREFIX": settings.redis_prefix}
        return CliRunner().invoke(cli.app, ["alias", *args], env={"COLUMNS": "200", **known, **env})

    return invoke


def test_set_list_and_remove(run):
    assert run("list").stdout == ""
    assert run("set", "gpt", "big-v1=90", "a=1=10").stdout == "gpt: big-v1=90 a=1=10\n"
    assert run("list").stdout.startswith("gpt\tbig-v1=90 a=1=10\t20")
    [told] = json.loads(run("list", "--json").stdout)
    assert (told["id"], told["targets"]) == ("gpt", {"big-v1": 90, "a=1": 10})
    assert run("set", "gpt", "big-v1").stdout == "gpt: big-v1=1\n"
    assert run("remove", "gpt").stdout == "Removed gpt.\n"
    assert run("list").stdout == ""


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["set", "gpt", "nobody=1"], 1, "does not exist here"),
        (["set", "gpt", "big-v1=0"], 1, "above 0"),
        (["set", "gpt", "gpt"], 1, "cannot stand for itself"),
        (["set", " gpt", "big-v1"], 1, "without spaces"),
        (["set", "gpt", "big-v1=many"], 2, "is not `model=weight`"),
        (["set", "gpt", "big-v1", "big-v1=2"], 2, "stands twice"),
        (["remove", "gpt"], 1, "There is no alias `gpt`"),
    ],
)
def test_what_cannot_be_done_is_said(run, arguments, code, says):
    result = run(*arguments)
    assert (result.exit_code, says in result.stderr) == (code, True), result.output
    assert run("list").stdout == ""


def test_there_are_no_more_than_there_may_be(run):
    result = run("set", "gpt", "big-v1", TESSERA_MAX_ALIASES="0")
    assert (result.exit_code, "TESSERA_MAX_ALIASES" in result.stderr) == (1, True)


def test_a_redis_that_is_not_there(run):
    for arguments in (["list"], ["set", "gpt", "big-v1"], ["remove", "gpt"]):
        result = run(*arguments, TESSERA_REDIS_URL="redis://127.0.0.1:1", TESSERA_REDIS_TIMEOUT_S="1")
        assert (result.exit_code, "cannot be reached" in result.stderr) == (1, True), result.output
