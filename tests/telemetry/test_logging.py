from __future__ import annotations

import asyncio
import gc
import json
import logging as standard
import sys
import threading
import warnings

import pytest
import structlog

from tessera.settings import Settings
from tessera.telemetry import logging


@pytest.fixture
def log_as(capsys):
    """Configures logging and gives a fresh logger; afterwards all is as it was."""

    def configure(**settings):
        logging.configure(Settings(**settings))
        structlog.configure(cache_logger_on_first_use=False)
        return structlog.get_logger()

    handlers, level = standard.root.handlers[:], standard.root.level
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    yield configure
    structlog.reset_defaults()
    standard.captureWarnings(False)
    standard.root.handlers, standard.root.level = handlers, level
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def fail():
    secret = "hunter2"
    raise ZeroDivisionError(len(secret))


def test_a_line_an_event(log_as, capsys):
    log = log_as()
    log.info("one", job="a", odd={1, 2}, path="a\nb")
    log.debug("too much")
    try:
        fail()
    except ZeroDivisionError:
        log.exception("two")
    one, two = lines(capsys)
    assert (one["event"], one["level"], one["job"], one["path"]) == ("one", "info", "a", "a\nb")
    assert "timestamp" in one
    assert "ZeroDivisionError" in two["exception"]


def test_people_get_lines_without_the_values_of_variables(log_as, capsys):
    log = log_as(log_format="console", log_level="debug")
    log.debug("one")
    try:
        fail()
    except ZeroDivisionError:
        log.exception("two")
    text = capsys.readouterr().err
    assert "one" in text
    assert "ZeroDivisionError" in text
    assert "self" not in text
    assert "hunter2" not in text


def test_the_level_is_the_least_severe_one(log_as, capsys):
    log = log_as(log_level="error")
    log.warning("quiet")
    log.error("loud")
    assert [line["event"] for line in lines(capsys)] == ["loud"]


def test_what_the_standard_library_logs_is_a_line_too(log_as, capsys):
    log_as()
    standard.getLogger("uvicorn.error").warning("Invalid\nrequest from %s.", "a")
    try:
        fail()
    except ZeroDivisionError:
        standard.getLogger("some.library").exception("It broke.")
    standard.getLogger("some.library").info("one of many requests")
    one, two = lines(capsys)
    assert (one["event"], one["level"], one["logger"]) == ("Invalid\nrequest from a.", "warning", "uvicorn.error")
    assert "timestamp" in one
    assert (two["event"], two["level"]) == ("It broke.", "error")
    assert "ZeroDivisionError" in two["exception"]


def test_warnings_are_lines(log_as, capsys):
    log_as()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        standard.captureWarnings(False)
        standard.captureWarnings(True)  # within `catch_warnings`, which pytest has around the test as well
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        standard.captureWarnings(False)
    [line] = lines(capsys)
    assert (line["level"], line["logger"]) == ("warning", "py.warnings")
    assert "DeprecationWarning: old" in line["event"]


def test_an_exception_of_a_task_that_nobody_asked_is_a_line(log_as, capsys):
    async def forget():
        async def work():
            fail()

        task = asyncio.create_task(work())
        await asyncio.wait([task])

    log_as()
    asyncio.run(forget())
    gc.collect()
    [line] = lines(capsys)
    assert (line["level"], line["logger"]) == ("error", "asyncio")
    assert line["event"].startswith("Task exception was never retrieved")
    assert "ZeroDivisionError" in line["exception"]


class Stubborn:
    def __del__(self):
        fail()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_errors_that_nothing_caught_are_lines(log_as, capsys):
    log_as()
    Stubborn()
    for work in (fail, sys.exit):
        thread = threading.Thread(target=work, name="worker-7")
        thread.start()
        thread.join()
    try:
        fail()
    except ZeroDivisionError:
        sys.excepthook(*sys.exc_info())
    seen = lines(capsys)
    assert [line["event"] for line in seen] == ["error_ignored", "thread_failed", "process_failed"]
    assert seen[1]["thread"] == "worker-7"
    assert all("ZeroDivisionError" in line["exception"] for line in seen)
