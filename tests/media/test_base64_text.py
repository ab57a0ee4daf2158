from __future__ import annotations

import base64
import textwrap
from urllib.parse import quote, quote_plus, unquote_plus

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.errors import InvalidMedia, MediaTooLarge
from tessera.media.base64_text import STEP_CHARS, decode

LIMIT = 1 << 20


def standard(data: bytes) -> str:
    return base64.b64encode(data).decode()


def wrapped(separator: str, width: int = 76):
    return lambda data: separator.join(textwrap.wrap(standard(data), width))


FORMS = {
    "as it should be": standard,
    "unpadded": lambda data: standard(data).rstrip("="),
    "wrapped as in mail": wrapped("\r\n"),
    "wrapped and indented": wrapped("\n    "),
    "wrapped with blanks": wrapped(" ", 64),
    "URL-safe": lambda data: base64.urlsafe_b64encode(data).decode(),
    "URL-safe and unpadded": lambda data: base64.urlsafe_b64encode(data).decode().rstrip("="),
    "percent-encoded": lambda data: quote(standard(data), safe=""),
    "percent-encoded, lower case": lambda data: standard(data).replace("+", "%2b").replace("=", "%3d"),
    "percent-encoded and wrapped": lambda data: quote(wrapped("\n")(data), safe=""),
    "decoded as a form": lambda data: unquote_plus(standard(data)),
    "decoded as a form, unpadded": lambda data: unquote_plus(standard(data)).rstrip("="),
    "decoded as a form, then encoded": lambda data: quote(unquote_plus(standard(data))),
    "encoded and decoded as a form": lambda data: unquote_plus(quote_plus(standard(data))),
    "in white space": lambda data: f"\n {standard(data)} \r\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_that_clients_send_is_understood(form):
    rng = np.random.default_rng(3)
    for size in (1, 2, 3, 48, 100, 101, 5000):
        data = b"\x89" + rng.bytes(size) + b"\x82"  # as of a PNG: no plus at either end
        assert decode(FORMS[form](data), LIMIT) == data


@pytest.mark.parametrize("form", ["as it should be", "unpadded", "wrapped as in mail", "URL-safe"])
def test_long_texts_are_understood_alike(form):
    data = np.random.default_rng(4).bytes(700_000)
    head = "data:;base64,"
    assert decode(head + FORMS[form](data), LIMIT, start=len(head)) == data


def test_what_goes_on_behind_padding_is_refused_wherever_that_stands():
    for size in (3, STEP_CHARS * 3 // 4):
        with pytest.raises(InvalidMedia):
            decode(standard(b"x" * (size - 1)) + standard(b"y" * size), LIMIT)


@pytest.mark.parametrize("place", range(1, 14))
@pytest.mark.parametrize("ending", ["AA", "A=", "=="])
def test_one_plus_that_became_a_blank_is_found_wherever_it_stands(place, ending):
    text = "B" * place + " " + "Q" * (13 - place) + ending
    assert decode(text, LIMIT) == base64.b64decode(text.replace(" ", "+"))


@given(st.binary(min_size=1, max_size=300), st.integers(1, 20))
def test_blanks_between_lines_of_one_length_are_no_pluses(data, groups):
    assert decode(wrapped(" ", 4 * groups)(data), LIMIT) == data


@pytest.mark.parametrize("text", ["a", "ab*d", "äöü=", "ab=d", "a===", "%", "=====a", "iVBORw0KGgo!", "abc\x00", "%zz"])
def test_what_is_not_base64_is_refused_in_our_own_words(text):
    with pytest.raises(InvalidMedia) as caught:
        decode(text, LIMIT)
    assert caught.value.message.startswith("The media data is not")
    if len(text) > 1:
        assert text not in caught.value.message


def test_the_size_limit_is_exact_and_ignores_white_space():
    for size in range(20, 24):
        text = " \n".join(standard(bytes(size)))
        assert decode(text, size) == bytes(size)
        with pytest.raises(MediaTooLarge, match=f"{size} bytes; at most {size - 1}"):
            decode(text, size - 1)
