from __future__ import annotations

import json

import pytest

from tessera.errors import InvalidRequest
from tessera.gateway.body import Document
from tessera.gateway.conversation import ROLES, check_conversation
from tessera.gateway.endpoints import CHAT
from tests.gateway.scripted import chat

ASKED = {"role": "user", "content": "What is the weather in Rome and Oslo?"}
CALLS = [{"id": name, "type": "function", "function": {"name": "weather", "arguments": "{}"}} for name in ("a", "b")]
CALLED = {"role": "assistant", "content": None, "tool_calls": CALLS}


def result(**fields):
    return {"role": "tool", "content": "rain", **fields}


def check(*messages, roles=(), **fields):
    check_conversation(Document(json.dumps({"messages": messages, **fields}).encode()), CHAT, roles)


def refused(*messages, **options):
    with pytest.raises(InvalidRequest) as caught:
        check(*messages, **options)
    return caught.value.param


@pytest.mark.parametrize("role", [role for role in ROLES if role != "tool"])
def test_known_roles(role):
    check(ASKED, {"role": role, "content": "x"})


@pytest.mark.parametrize("role", ["banana", "User", "", " user", 5, True, [], {}, ["user"], "x" * 10_000])
def test_an_unknown_role_is_named(role):
    assert refused(ASKED, {"role": role, "content": "x"}) == "messages[1].role"


def test_a_message_without_a_role_is_named():
    for message in ({"content": "x"}, {"role": None}):
        assert refused(ASKED, message) == "messages[1].role"


def test_roles_that_only_a_template_knows():
    check({"role": "observation"}, roles=["observation"])
    check({"role": "observation"}, chat_template="{{ messages }}")
    assert refused({"role": "observation"}, chat_template=None) == "messages[0].role"


def test_results_of_calls():
    check(ASKED, CALLED, result(tool_call_id="b"), result(tool_call_id="a"), ASKED, CALLED, result(tool_call_id="a"))


@pytest.mark.parametrize("identity", [None, "", 5, [], {}, "c", "A"])
def test_a_result_of_no_call_is_named(identity):
    assert refused(ASKED, CALLED, result(tool_call_id=identity)) == "messages[2].tool_call_id"
    assert refused(ASKED, CALLED, result()) == "messages[2].tool_call_id"


def test_a_result_comes_behind_its_call():
    assert refused(ASKED, result(tool_call_id="a"), CALLED) == "messages[1].tool_call_id"
    by_the_user = {**CALLED, "role": "user"}
    assert refused(by_the_user, result(tool_call_id="a")) == "messages[1].tool_call_id"


@pytest.mark.parametrize("calls", [None, [], {}, "a", [None], ["a"], [{}], [{"id": 5}], [{"id": ["a"]}]])
def test_calls_that_are_none(calls):
    assert refused({"role": "assistant", "tool_calls": calls}, result(tool_call_id="a")) == "messages[1].tool_call_id"


@pytest.mark.parametrize("message", [None, "x", 5, []])
def test_what_is_no_message_is_named(message):
    assert refused(ASKED, message) == "messages[1]"


async def test_further_roles_are_a_setting(start_gateway, settings, worker):
    gateway = await start_gateway(settings.model_copy(update={"chat_roles": "context, observation"}))
    async with worker.serving(worker.echo):
        body = chat(worker.card.model) | {"messages": [{"role": "observation", "content": "x"}]}
        assert (await gateway.post(body)).status == 200
        answer = await gateway.post(body | {"messages": [{"role": "banana", "content": "x"}]})
    assert (answer.status, answer.error["param"]) == (400, "messages[0].role")
    assert "observation" in answer.error["message"]
