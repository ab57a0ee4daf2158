from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.worker.events import EventSplitter, data_of, is_comment, pieces

PIECES = st.sampled_from(
    [b"data: 1", b"data: {}", b": comment", b"event: x", b"\n", b"\r\n", b"\n\n", b"\r\n\r\n", b"x"]
)


def split(*writes: bytes) -> tuple[list[bytes], bytes]:
    splitter = EventSplitter()
    events = [event for write in writes for event in splitter.feed(write)]
    return events, splitter.rest


def test_one_write_may_hold_several_events_and_the_beginning_of_another() -> None:
    assert split(b"data: 1\n\ndata: 2\n\nda", b"ta: 3\n\n") == ([b"data: 1\n\n", b"data: 2\n\n", b"data: 3\n\n"], b"")


@pytest.mark.parametrize("blank", [b"\n\n", b"\r\n\r\n", b"\n\r\n", b"\r\n\n"])
def test_lines_may_end_with_crlf(blank: bytes) -> None:
    first = b"data: 1" + blank
    assert split(first + b"data: 2") == ([first], b"data: 2")


@given(st.lists(PIECES), st.lists(st.integers(0, 200)))
@settings(max_examples=300, deadline=None, derandomize=True, database=None)
def test_events_do_not_depend_on_where_the_stream_is_cut(pieces: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(pieces)
    places = sorted({min(cut, len(stream)) for cut in cuts})
    writes = [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]
    events, rest = split(*writes)
    assert (events, rest) == split(stream)
    assert b"".join(events) + rest == stream
    assert all(event.replace(b"\r", b"").endswith(b"\n\n") for event in events)


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b"data: x\n\n", b"x"),
        (b"data:x\r\n\r\n", b"x"),
        (b"event: a\ndata: 1\n: b\ndata:  2\n\n", b"1\n 2"),
        (b": data: x\n\n", b""),
        (b"\n\n", b""),
    ],
)
def test_the_data_of_an_event(event: bytes, data: bytes) -> None:
    assert data_of(event) == data


@pytest.mark.parametrize(
    ("event", "comment"), [(b": waiting\n\n", True), (b"\r\n\r\n", True), (b": x\nid: 1\n\n", False)]
)
def test_a_comment_is_what_no_client_sees(event: bytes, comment: bool) -> None:
    assert is_comment(event) is comment


@given(st.lists(st.integers(1, 12)), st.sampled_from([b"\n\n", b"\r\n\r\n", b"\n\r\n"]), st.integers(1, 20))
@settings(max_examples=100, deadline=None, derandomize=True, database=None)
def test_pieces_are_the_stream_and_none_begins_inside_the_end_of_an_event(
    sizes: list[int], blank: bytes, most_bytes: int
) -> None:
    stream = b"".join(b"x" * size + blank for size in sizes) + b"rest"
    cut = list(pieces(stream, most_bytes))
    assert b"".join(cut) == stream
    assert all(len(piece) <= most_bytes + len(blank) for piece in cut)
    # Whoever counts events piece by piece finds as many.
    assert sum(len(split(piece)[0]) for piece in cut) == len(sizes)
