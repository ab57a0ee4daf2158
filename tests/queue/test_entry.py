from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.queue import Data, End, Entry, Failure, Head
from tessera.queue.entry import decode

ENTRIES = (
    st.builds(
        Head,
        st.integers(100, 599),
        st.text(),
        st.integers(0, 2**40),
        st.integers(1, 9),
        st.dictionaries(st.text(), st.text()),
    )
    | st.builds(Data, st.binary())
    | st.builds(
        End,
        st.dictionaries(st.text().filter(lambda name: name != "error"), st.integers(-(2**53), 2**53)),
        st.none() | st.tuples(st.integers(100, 599), st.text()),
    )
    | st.builds(End, resumed=st.just(True), attempts=st.integers(2, 9))
    | st.builds(Failure, st.text(), st.text())
)


@given(ENTRIES)
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
def test_what_is_stored_is_read(entry: Entry) -> None:
    assert decode(entry.encode()) == entry


def test_an_end_of_an_earlier_version_is_read() -> None:
    assert decode(b'e{"prompt_tokens":7}') == End({"prompt_tokens": 7})


def test_an_end_with_an_error_has_its_usage_where_an_earlier_version_looks_for_it() -> None:
    raw = End({"prompt_tokens": 7}, (500, "engine_error")).encode()
    assert json.loads(raw[1:]) == {"prompt_tokens": 7, "error": [500, "engine_error"]}


@pytest.mark.parametrize(
    "raw",
    [b"", b"?", b"h{", b"e", b"xnull[", b"\x00", b"h[1]", b"h[1,2,3,4,5]", b"e[1]", b'e{"error":1}', b"x{}", b"x[]"],
)
def test_what_is_no_entry_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        decode(raw)


def test_a_head_without_further_headers_is_what_earlier_versions_read() -> None:
    assert Head(200, "text/plain", 5, 1).encode() == b'h[200,"text/plain",5,1]'
