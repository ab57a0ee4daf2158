from __future__ import annotations

import pytest

from tessera.errors import InvalidRequest
from tessera.gateway.body.width import width_of


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
    assert width_of(body, "messages", 100) == chat
    if completion is not None:
        assert width_of(body, "prompt", 100) == completion


@pytest.mark.parametrize("value", [0, -1, True, False, "3", 1.5, [], {}, [3], 1e300])
@pytest.mark.parametrize("endpoint", ["messages", "prompt"])
def test_what_vllm_would_make_a_number_of_is_not_taken(value, endpoint):
    with pytest.raises(InvalidRequest) as refused:
        width_of({"n": value}, endpoint, 100)
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
        width_of(body, "prompt", 100)
    assert refused.value.param == param
    assert "100 sequences" in refused.value.message


def test_the_limit_is_exact():
    assert width_of({"n": 50, "prompt": ["a", "b"]}, "prompt", 100) == 100
    assert width_of({"n": 100}, "messages", 100) == 100
