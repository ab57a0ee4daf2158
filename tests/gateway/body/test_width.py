from __future__ import annotations

import pytest

from tessera.errors import InvalidRequest
from tessera.gateway.body.width import Limits, answers, completions, conversations, inputs, longest

LIMITS = Limits(100, 200)


@pytest.mark.parametrize(
    ("body", "chat", "completion"),
    [
        ({}, 1, 1),
        ({"n": 3}, 3, 3),
        ({"n": 3.0}, 3, 3),
        ({"n": None}, 1, 1),
        ({"prompt": "x"}, 1, 1),
        ({"prompt": [1, 2, 3]}, 1, 1),
        ({"prompt": [1.0, 2, 3]}, 1, 1),
        ({"prompt": ["a", "b"], "n": 2}, 2, 4),
        ({"prompt": [[1], [2], [3]]}, 1, 3),
        ({"prompt": "x", "prompt_embeds": ["AAAA", "AAAA"]}, 1, 3),
        ({"prompt": "", "prompt_embeds": "AAAA"}, 1, 1),
        ({"prompt": "x", "best_of": 5}, 1, 5),
        ({"prompt": ["a", "b"], "best_of": 2, "n": 3}, 3, 6),
        ({"best_of": [], "n": 3}, 3, None),
    ],
)
def test_what_counts_is_up_to_the_endpoint(body, chat, completion):
    assert answers(body, LIMITS) == chat
    if completion is not None:
        assert completions(body, LIMITS) == completion


@pytest.mark.parametrize("value", [0, -1, True, False, "3", 1.5, [], {}, [3], 1e300])
@pytest.mark.parametrize("width", [answers, completions])
def test_what_vllm_would_make_a_number_of_is_not_taken(value, width):
    with pytest.raises(InvalidRequest) as refused:
        width({"n": value}, LIMITS)
    assert refused.value.param == "n"


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({"n": 101}, "n", "101 answers;"),
        ({"best_of": 101}, "best_of", "101 answers;"),
        ({"prompt": ["x"] * 101}, "prompt", "101 prompts;"),
        ({"prompt": ["x"] * 51, "n": 2}, "n", "2 answers to each of 51 prompts;"),
        ({"prompt": [[1]] * 101, "n": 1}, "prompt", "101 prompts;"),
        ({"n": 1e20}, "n", "answers;"),
    ],
)
def test_the_limit_is_named_with_what_exceeds_it(body, param, words):
    with pytest.raises(InvalidRequest, match=words) as refused:
        completions(body, LIMITS)
    assert refused.value.param == param
    assert "100 sequences" in refused.value.message


def test_the_limit_is_exact():
    assert completions({"n": 50, "prompt": ["a", "b"]}, LIMITS) == 100
    assert answers({"n": 100}, LIMITS) == 100
    assert inputs({"input": ["a"] * 200}, LIMITS) == 200


MESSAGE = {"role": "user", "content": "x"}


@pytest.mark.parametrize(
    ("width", "body", "expected"),
    [
        (inputs, {"input": "a"}, 1),
        (inputs, {"input": ["a", "b", "c"]}, 3),
        (inputs, {"input": [1, 2, 3]}, 1),
        (inputs, {"input": [[1, 2], [3]]}, 2),
        (inputs, {"input": [MESSAGE, MESSAGE]}, 1),
        (inputs, {"input": None, "messages": [MESSAGE, MESSAGE]}, 1),
        (inputs, {"messages": [[MESSAGE], [MESSAGE]]}, 2),
        (conversations, {"messages": [[MESSAGE, MESSAGE], [MESSAGE]]}, 2),
        (longest("documents"), {"query": "a", "documents": ["b", "c"]}, 2),
        (longest("documents"), {"query": "a", "documents": "b"}, 1),
        (longest("a", "b"), {"a": ["x", "y"], "b": ["z"]}, 2),
    ],
)
def test_what_is_read_counts_each_text(width, body, expected):
    assert width(body, LIMITS) == expected


@pytest.mark.parametrize(
    ("width", "body", "param"),
    [
        (inputs, {"input": ["a"] * 201}, "input"),
        (inputs, {"messages": [[MESSAGE]] * 201}, "messages"),
        (longest("queries", "documents"), {"queries": "a", "documents": ["b"] * 201}, "documents"),
    ],
)
def test_what_is_read_has_a_limit_of_its_own(width, body, param):
    with pytest.raises(InvalidRequest, match="201 inputs; 200 are allowed") as refused:
        width(body, LIMITS)
    assert refused.value.param == param


def test_conversations_are_sequences():
    with pytest.raises(InvalidRequest, match="101 prompts; 100 sequences") as refused:
        conversations({"messages": [[MESSAGE]] * 101}, LIMITS)
    assert refused.value.param == "messages"
