from __future__ import annotations

from structlog.testing import capture_logs

from tessera.telemetry.outage import Outage


def test_an_outage_is_told_when_it_begins_and_when_it_is_over():
    outage = Outage("lost", "back", channel="c")
    with capture_logs() as logs:
        outage.works("read")
        for error in ("first", "second"):
            outage.failed("read", ConnectionError(error))
        outage.works("read")
        outage.works("read")
    began, over = logs
    assert (began["event"], began["channel"], began["activity"], began["error"]) == ("lost", "c", "read", "first")
    assert (over["event"], over["channel"]) == ("back", "c")
    assert over["seconds"] >= 0


def test_it_is_over_when_everything_that_failed_works_again():
    outage = Outage("lost", "back")
    with capture_logs() as logs:
        outage.failed("read", ConnectionError())
        outage.failed("write", ConnectionError())
        for _ in range(3):
            outage.works("read")
            outage.failed("read", ConnectionError())
        outage.works("write")
        outage.works("other")
        assert [line["event"] for line in logs] == ["lost"]
        outage.works("read")
    assert [line["event"] for line in logs] == ["lost", "back"]


def test_the_next_outage_is_told_again():
    outage = Outage("lost", "back")
    with capture_logs() as logs:
        for _ in range(2):
            outage.failed("read", ConnectionError())
            outage.works("read")
    assert [line["event"] for line in logs] == ["lost", "back"] * 2
