from __future__ import annotations

import json
import re

import pytest

from tessera.errors import InvalidRequest
from tessera.gateway.body import Document, Limits, Options, read_options
from tessera.gateway.endpoints import COMPLETION, EMBEDDING, SCORING, TOKENIZATION

LIMITS = Limits(128, 2048)


def document(body):
    return Document(json.dumps(body).encode())


def goes_on(of):
    return json.loads(of.encode())


def test_what_is_not_streamed_is_left_alone():
    body = {"model": "m", "prompt": "x", "stream": False, "stream_options": None}
    read = document(body)
    assert read_options(read, COMPLETION, LIMITS) == Options("m", stream=False, sequences=1, hide_usage=False)
    assert read.encode() == json.dumps(body).encode()


ANY = [None, True, 0, -1, 2**63, 0.5, "", "x", [], [None], [[]], [0], {}, {"include_usage": []}]


@pytest.mark.parametrize("name", ["model", "prompt", "stream", "stream_options", "n"])
@pytest.mark.parametrize("value", ANY)
def test_any_value_is_taken_or_rejected_by_name(name, value):
    body = {"model": "m", "prompt": "x", "stream": True, name: value}
    try:
        options = read_options(document(body), COMPLETION, LIMITS)
    except InvalidRequest as error:
        rejected = error.param
    else:
        rejected = None
        assert isinstance(options.model, str)
        assert options.sequences >= 1
    assert re.split(r"[.\[]", rejected or name)[0] == name


@pytest.mark.parametrize("name", ["include_usage", "continuous_usage_stats"])
@pytest.mark.parametrize("value", ["no", "true", 1, [], {}])
def test_a_wish_for_usage_is_true_or_false(name, value):
    body = {"model": "m", "prompt": "x", "stream": True, "stream_options": {name: value}}
    with pytest.raises(InvalidRequest) as refused:
        read_options(document(body), COMPLETION, LIMITS)
    assert refused.value.param == f"stream_options.{name}"


@pytest.mark.parametrize("asked", [None, False, True])
def test_usage_in_every_chunk_comes_only_with_usage(asked):
    wanted = {"include_usage": asked, "continuous_usage_stats": True}
    body = {"model": "m", "prompt": "x", "stream": True, "stream_options": wanted}
    read = document(body)
    assert read_options(read, COMPLETION, LIMITS).hide_usage is (asked is not True)
    assert goes_on(read)["stream_options"] == {"include_usage": True, "continuous_usage_stats": asked is True}


def refused(endpoint, **body):
    with pytest.raises(InvalidRequest) as caught:
        read_options(document({"model": "m", **body}), endpoint, LIMITS)
    return caught.value


def test_one_prompt_of_several_ways_to_say_it():
    for body in ({"input": "x"}, {"input": [[1]], "messages": None}, {"messages": [{"role": "user", "content": "x"}]}):
        assert not read_options(document({"model": "m", **body}), EMBEDDING, LIMITS).stream
    assert refused(EMBEDDING).message == "A request to /v1/embeddings must have `input` or `messages`."
    assert refused(EMBEDDING, input=[]).param == "input"
    assert refused(EMBEDDING, input="x", messages=[{}]).param == "messages"
    score = SCORING[0]
    assert read_options(document({"model": "m", "queries": "x", "items": ["y", "z"]}), score, LIMITS).sequences == 2
    assert refused(score, text_1="x").param == "text_2"
    assert refused(score, documents=["x"]).param == "queries"
    assert refused(score, queries="x", documents=["y"], data_1="z").param == "data_1"


def test_a_prompt_may_be_empty_where_nothing_is_made_of_it():
    assert read_options(document({"model": "m", "prompt": ""}), TOKENIZATION, LIMITS).sequences == 1
    assert refused(EMBEDDING, input="").param == "input"


@pytest.mark.parametrize("value", [True, 1, 0, "x", {}])
def test_no_stream_is_promised_where_there_is_none(value):
    assert refused(EMBEDDING, input="x", stream=value).param == "stream"
    read_options(document({"model": "m", "input": "x", "stream": False}), EMBEDDING, LIMITS)
