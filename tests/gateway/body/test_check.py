from __future__ import annotations

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.errors import InvalidRequest
from tessera.gateway.endpoints import CHAT, COMPLETION, EMBEDDING, ENDPOINTS, RERANKING, RESPONSES
from tests.description import validator

NUMBERS = [0, 1, 2, 3, -1, -2, -3, 0.0, 1.0, 2.0, 0.5, 1.5, -0.5, 1e-300, 1e300, 2**63 - 1, 2**63, -(2**63), 10**30]
SCALARS = st.sampled_from([*NUMBERS, None, True, False, "", "5", "x"])
LISTS = st.lists(SCALARS, max_size=6) | st.lists(st.sampled_from(NUMBERS), max_size=3)
VALUES = st.one_of(
    SCALARS,
    LISTS,
    st.lists(LISTS, max_size=3),
    st.lists(st.sampled_from(["x", "", {}, {"content": []}, 1, None]), max_size=3),
    st.lists(st.lists(st.just({}), max_size=2), max_size=2),
    st.sampled_from(["float", "base64", "float64"]),
    st.dictionaries(st.sampled_from(["include_usage", "continuous_usage_stats", "id", "x"]), SCALARS),
)
RULES = [
    (name, rule, validator(endpoint.fields[name])) for endpoint in ENDPOINTS for name, rule in endpoint.rules.items()
]


@given(st.sampled_from(range(len(RULES))), VALUES)
@settings(max_examples=500, deadline=None)
def test_a_rule_takes_what_its_schema_allows(number, value):
    name, rule, schema = RULES[number]
    refused = None
    try:
        rule.check(value, (name,))
    except InvalidRequest as error:
        refused = error
    assert schema.is_valid(value) is (refused is None)
    assert refused is None or refused.param.split(".")[0] == name


@pytest.mark.parametrize(
    ("endpoint", "name", "value", "message"),
    [
        (CHAT, "max_tokens", "5", "`max_tokens` must be an integer of at least 1 or null."),
        (CHAT, "seed", 2**63, "`seed` must be an integer of 64 bits or null."),
        (CHAT, "temperature", 3, "`temperature` must be a number from 0 to 2 or null."),
        (CHAT, "top_p", 0, "`top_p` must be a number above 0 and at most 1 or null."),
        (CHAT, "stream", "yes", "`stream` must be true, false, or null."),
        (
            CHAT,
            "stop",
            "",
            "`stop` must be a string that is not empty, an array of strings that are not empty, or null.",
        ),
        (
            RESPONSES,
            "conversation",
            {},
            "`conversation` must be a string that is not empty, an object with `id`, or null.",
        ),
        (CHAT, "stream_options", {"include_usage": 1}, "`stream_options.include_usage` must be true, false, or null."),
        (COMPLETION, "n", None, "`n` must be an integer of at least 1."),
        (
            COMPLETION,
            "prompt",
            [1, -1],
            "`prompt` must be a string that is not empty, an array of strings, an array of integers of at least 0, or "
            "an array of arrays of integers of at least 0.",
        ),
        (
            RERANKING[0],
            "documents",
            ["x", 5],
            "`documents` must be a string that is not empty, an object, or an array of strings or objects.",
        ),
        (
            EMBEDDING,
            "encoding_format",
            "hex",
            "`encoding_format` must be one of `float`, `base64`, `bytes`, `bytes_only`.",
        ),
    ],
)
def test_one_sentence_says_what_would_be_right(endpoint, name, value, message):
    with pytest.raises(InvalidRequest) as refused:
        endpoint.rules[name].check(value, (name,))
    assert refused.value.message == message


def test_an_integer_that_a_parser_rounded_into_the_bounds_is_none():
    with pytest.raises(InvalidRequest):
        CHAT.rules["seed"].check(orjson.loads(str(-(2**63) - 1)), ("seed",))
    CHAT.rules["seed"].check(-(2**63), ("seed",))
