from __future__ import annotations

import inspect

import pytest

from tessera import errors
from tessera.errors import Evicted, InvalidRequest, TesseraError, Unavailable
from tessera.gateway.failures import error_of
from tessera.queue import Failure

CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, TesseraError)]


@pytest.mark.parametrize("kind", CLASSES)
def test_the_body_is_that_of_openai(kind):
    error = kind("What is wrong.", param="messages[0]")
    body = {"message": "What is wrong.", "type": kind.type, "param": "messages[0]", "code": kind.code}
    assert error.body() == {"error": body}
    assert "Retry-After" not in error.headers()
    assert kind("x", retry_after_s=3).headers()["Retry-After"] == "3"


@pytest.mark.parametrize("kind", CLASSES)
def test_the_status_fits_the_family(kind):
    if issubclass(kind, InvalidRequest):
        assert 400 <= kind.status < 500
        assert kind.type == "invalid_request_error"
    elif issubclass(kind, Evicted | Unavailable):
        assert kind.status == 503


def test_codes_tell_errors_apart():
    codes = [c.code for c in CLASSES]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("code", ["queue_timeout", "worker_lost", "reply_lost"])
def test_an_eviction_is_told_by_its_code(code):
    error = error_of(Failure(code, "Sorry."))
    assert isinstance(error, Evicted)
    assert (error.code, error.message, error.headers()) == (code, "Sorry.", {"Retry-After": "1"})


@pytest.mark.parametrize("code", ["internal_error", "of_a_newer_version"])
def test_any_other_failure_is_the_servers_fault(code):
    error = error_of(Failure(code, "It broke."))
    assert (error.status, error.code, error.message) == (500, "internal_error", "It broke.")
