from __future__ import annotations

import json

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

    yield configure
    structlog.reset_defaults()


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
    one, two = map(json.loads, capsys.readouterr().err.splitlines())
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
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["loud"]
