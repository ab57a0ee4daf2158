from __future__ import annotations

import zlib

import pytest

from tessera.prompt import PromptCounter, PromptFiles, Uncountable, files


@pytest.mark.parametrize("packed", [b"", b"x" * 40, zlib.compress(b"[]"), zlib.compress(b"{}"), zlib.compress(b"null")])
def test_what_cannot_be_read(packed):
    with pytest.raises(Uncountable, match="cannot be read"):
        PromptFiles.decode(packed)


def test_a_newer_version_s_fields_are_left_out():
    newer = zlib.compress(
        b'{"tokenizer": "{}", "of_tomorrow": 1, "template": {"source": "x", "content_format": "string"}}'
    )
    assert PromptFiles.decode(newer).template.source == "x"


def test_what_is_packed_small_is_not_unpacked_large():
    with pytest.raises(Uncountable):
        PromptFiles.decode(zlib.compress(b'{"tokenizer": "' + b" " * (129 << 20) + b'"}', 1))


def test_too_large_to_be_announced(monkeypatch):
    monkeypatch.setattr(files, "MOST_BYTES", 10)
    with pytest.raises(Uncountable, match="more than 10"):
        PromptFiles("{}").encode()


def test_no_tokenizer():
    with pytest.raises(Uncountable, match="loaded"):
        PromptCounter(PromptFiles('{"version": "1.0"}'))
