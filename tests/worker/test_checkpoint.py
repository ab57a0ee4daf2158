from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from tessera.worker.checkpoint import CHECKSUMS, CheckpointError, verify


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "x"}')
    save_file({"a": np.ones((4, 4), np.float32), "b": np.ones(3, np.float32)}, tmp_path / "model.safetensors")
    return tmp_path


def sign(folder):
    lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}\n" for p in sorted(folder.iterdir())]
    (folder / CHECKSUMS).write_text("".join(lines))


def test_a_whole_one_passes(folder):
    verify(str(folder))
    sign(folder)
    verify(str(folder))


def test_a_folder_without_weights_of_this_format_passes(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    verify(str(folder))


def refusal(folder):
    with pytest.raises(CheckpointError) as refused:
        verify(str(folder))
    return str(refused.value)


def test_the_name_of_a_hub_is_not_looked_for_on_this_disk():
    verify("organisation/model")


def test_no_config(folder):
    (folder / "config.json").unlink()
    assert str(folder) in refusal(folder)
    assert "config.json" in refusal(folder)


def test_a_file_that_is_no_json(folder):
    (folder / "tokenizer.json").write_text('{"model": ')
    assert str(folder / "tokenizer.json") in refusal(folder)


@pytest.mark.parametrize("kept", [0, 7, 8, 40, -1])
def test_weights_that_were_cut_off(folder, kept):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    assert str(path) in refusal(folder)


def test_weights_that_are_too_long(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes() + b"\0")
    assert "bytes" in refusal(folder)


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b'{"a": 1}',
        b'{"a": {"data_offsets": [0]}}',
        b'{"a": {"data_offsets": 3}}',
        b'{"a":{"data_offsets":[0,"x"]}}',
    ],
)
def test_a_header_that_describes_no_tensors(folder, header):
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    assert "header" in refusal(folder)


def test_an_index_that_names_a_missing_file(folder):
    index = {"weight_map": {"a": "model.safetensors", "c": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert str(folder / "model-2.safetensors") in refusal(folder)


def test_an_index_without_a_map(folder):
    (folder / "model.safetensors.index.json").write_text("[]")
    assert "weight_map" in refusal(folder)


def test_a_changed_bit(folder):
    sign(folder)
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    assert str(path) in refusal(folder)
    assert CHECKSUMS in refusal(folder)


def test_a_file_that_the_sums_name_is_missing(folder):
    (folder / "chat_template.jinja").write_text("x")
    sign(folder)
    (folder / "chat_template.jinja").unlink()
    assert "chat_template.jinja" in refusal(folder)


def test_a_file_that_cannot_be_read(folder):
    (folder / "tokenizer.json").symlink_to("tokenizer.json")
    assert "tokenizer.json" in refusal(folder)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(garbage=st.binary(max_size=200))
def test_garbage_never_raises_anything_else(folder, garbage):
    (folder / "model.safetensors").write_bytes(garbage)
    with pytest.raises(CheckpointError):
        verify(str(folder))
