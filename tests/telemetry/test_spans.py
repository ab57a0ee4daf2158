"""Traces as their headers carry them."""

from __future__ import annotations

import pytest

from tessera.telemetry.spans import Kind, Span, carried_in, encode, trace_of

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    "traceparent",
    [
        "", "x", PARENT.upper(), PARENT[:-1], f"{PARENT}-more", f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01", f" {PARENT}", f"{PARENT}\n", f"00-{TRACE}٣-{SPAN}-01",
    ],
)  # fmt: skip
def test_what_is_no_trace(traceparent):
    given = [(b"traceparent", traceparent.encode()), (b"baggage", b"a=b")]
    assert carried_in(given) == {}
    span = Span.behind("x", Kind.SERVER, {"traceparent": traceparent}, share=1)
    assert (len(span.trace), span.parent, span.sampled) == (32, "", True)


def test_what_a_client_says_goes_on():
    given = [(b"traceparent", PARENT.encode()), (b"tracestate", b"v=1"), (b"baggage", b"a=b"), (b"cookie", b"c")]
    carried = carried_in(given)
    assert carried == {"traceparent": PARENT, "tracestate": "v=1", "baggage": "a=b"}
    assert trace_of(carried) == TRACE
    span = Span.behind("x", Kind.SERVER, carried, share=0)
    assert (span.trace, span.parent, span.sampled) == (TRACE, SPAN, True), "whether it is told is the client's to say"
    part = span.child("y")
    assert (part.trace, part.parent) == (TRACE, span.id)
    assert part.carried() == {"traceparent": f"00-{TRACE}-{part.id}-01", "tracestate": "v=1", "baggage": "a=b"}


def test_a_client_that_wants_no_trace_and_a_later_version():
    unsampled = Span.behind("x", Kind.SERVER, {"traceparent": f"00-{TRACE}-{SPAN}-00"}, share=1)
    assert not unsampled.sampled
    assert unsampled.child("y").carried()["traceparent"].endswith("-00")
    assert trace_of({"traceparent": f"01-{TRACE}-{SPAN}-03-more"}) == TRACE


def test_what_is_too_long_is_left_out():
    assert carried_in([(b"traceparent", PARENT.encode()), (b"baggage", b"a=" + b"b" * 2000)]) == {"traceparent": PARENT}


def test_a_share_of_those_that_begin_here():
    sampled = [Span.behind("x", Kind.SERVER, {}, share=0.5).sampled for _ in range(400)]
    assert 100 < sum(sampled) < 300
    assert not any(Span.behind("x", Kind.SERVER, {}, share=0).sampled for _ in range(50))


def test_values_by_their_kinds():
    assert [told["value"] for told in encode({"a": True, "b": 3, "c": 0.5, "d": "x"})] == [
        {"boolValue": True}, {"intValue": "3"}, {"doubleValue": 0.5}, {"stringValue": "x"},
    ]  # fmt: skip
