from __future__ import annotations

import itertools
import json
from collections.abc import Mapping

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.errors import InvalidRequest
from tessera.gateway.body import spans
from tessera.gateway.body.changes import nested, write
from tessera.gateway.body.path import Path
from tessera.gateway.body.spans import refuse_twins
from tests.gateway.body.texts import exactly, texts


def splice(text: bytes, changes: Mapping[Path, bytes | None]) -> bytes:
    return spans.splice(text, nested(changes))


@given(texts(), st.data())
def test_all_but_the_replaced_values_is_there_byte_for_byte(text, data):
    within = [path for path in text.places if path]
    chosen = data.draw(st.lists(st.sampled_from(within), unique=True, max_size=3)) if within else []
    # One within another would be replaced with it.
    chosen = [p for p in chosen if not any(p != q and p[: len(q)] == q for q in chosen)]
    expected, done = b"", 0
    for path in sorted(chosen, key=text.places.__getitem__):
        start, end = text.places[path]
        expected += text.text[done:start].encode() + b'{"new":1e5}'
        done = end
    expected += text.text[done:].encode()
    assert splice(text.text.encode(), dict.fromkeys(chosen, b'{"new":1e5}')) == expected


@given(texts(), st.data())
def test_what_is_taken_out_is_gone_and_nothing_else(text, data):
    members = [path for path in text.places if path and isinstance(path[-1], str)]
    gone = data.draw(st.lists(st.sampled_from(members), unique=True, max_size=4)) if members else []
    gone = [p for p in gone if not any(p != q and p[: len(q)] == q for q in gone)]
    value = exactly(text.text)
    for path in gone:
        holder = value
        for step in path[:-1]:
            holder = holder[step]
        del holder[path[-1]]
    assert exactly(splice(text.text.encode(), dict.fromkeys(gone)).decode()) == value


@pytest.mark.parametrize("names", [names for n in range(5) for names in itertools.combinations("abcd", n)])
@pytest.mark.parametrize("added", [{}, {("e",): b"5"}])
def test_commas_are_right_whatever_is_taken_out(names, added):
    text = b'{ "a" :1 , "b":[2] ,"c":{"x":3}, "d":"4"}'
    left = json.loads(splice(text, {(name,): None for name in names} | added))
    expected = {"a": 1, "b": [2], "c": {"x": 3}, "d": "4"} | {path[0]: 5 for path in added}
    assert left == {name: value for name, value in expected.items() if name not in names}


def test_what_is_new_is_added_in_front():
    assert splice(b'{"a": 1}', {("b",): b"2", ("c",): b"[]"}) == b'{"b":2,"c":[],"a": 1}'
    assert splice(b' { "a":{}}', {("a", "b"): b"2"}) == b' { "a":{"b":2}}'


@given(texts(), st.data())
def test_a_text_as_this_server_writes_it_is_changed_alike_in_both_ways(text, data):
    value = orjson.loads(text.text)
    usual = orjson.dumps(value)
    within = [path for path in text.places if path]
    changes = dict.fromkeys(data.draw(st.lists(st.sampled_from(within), max_size=3)) if within else [], b'{"new":1e5}')
    members = [path for path in within if isinstance(path[-1], str)]
    changes |= dict.fromkeys(data.draw(st.lists(st.sampled_from(members), max_size=2)) if members else [])
    objects = [path for path in text.places if text.text[text.places[path][0]] == "{"]
    added = data.draw(st.lists(st.sampled_from(objects), max_size=2)) if isinstance(value, dict) else []
    changes |= {(*path, "new"): b"[ 1 ]" for path in added}
    changes = {p: new for p, new in changes.items() if not any(p != q and p[: len(q)] == q for q in changes)}
    if isinstance(value, dict):
        assert write(value, nested(changes)) == splice(usual, changes)


@pytest.mark.parametrize(
    "text",
    [b'{"a":{"b":1},"a":{"b":2}}', b'{"a":{"b":1,"b":2}}', rb'{"a":{"b":1,"\u0062":2}}', rb'{"\u0061":1,"a":{}}'],
)
def test_which_of_two_was_meant_is_asked(text):
    with pytest.raises(InvalidRequest) as refused:
        splice(text, {("a", "b"): b"3"})
    assert refused.value.param in ("a", "a.b")


@pytest.mark.parametrize("twin", [b'"model"', rb'"\u006dodel"', rb'"mode\u006C"', b'"model" \n'])
def test_a_field_that_stands_twice_is_found_however_it_is_written(twin):
    text = b'{"model":1,"x":{"model":2},' + twin + b":3}"
    with pytest.raises(InvalidRequest) as refused:
        refuse_twins(text, ["model"])
    assert refused.value.param == "model"
    refuse_twins(text, ["x"])
