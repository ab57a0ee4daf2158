from __future__ import annotations

import pytest

from tessera.worker import clean_blocks

pytest.importorskip("vllm")


@pytest.fixture
def config_class(monkeypatch):
    """vLLM's class, as it was before: the real plug-in would change it for the rest of the tests."""
    from vllm.v1.kv_cache_interface import KVCacheConfig

    monkeypatch.setattr(KVCacheConfig, "needs_kv_cache_zeroing", KVCacheConfig.needs_kv_cache_zeroing)
    return KVCacheConfig


def test_blocks_are_zeroed_for_models_of_every_kind(config_class):
    plain = config_class(num_blocks=1, kv_cache_tensors=[], kv_cache_groups=[])
    assert not plain.needs_kv_cache_zeroing
    clean_blocks.activate()
    assert plain.needs_kv_cache_zeroing


def test_a_vllm_without_the_switch_is_named_in_the_log(config_class, monkeypatch, caplog):
    import logging

    monkeypatch.delattr(config_class, "needs_kv_cache_zeroing")
    monkeypatch.setattr(logging.getLogger("vllm"), "propagate", True)
    clean_blocks.activate()
    assert "cannot zero" in caplog.text
    assert not hasattr(config_class, "needs_kv_cache_zeroing")


def test_vllm_finds_the_plug_in():
    from importlib.metadata import entry_points

    found = entry_points(group="vllm.general_plugins", name="tessera_clean_blocks")
    assert [point.load() for point in found] == [clean_blocks.activate]
