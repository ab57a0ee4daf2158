from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from tessera.plan import announced_family
from tessera.worker.family import announce_family
from tests.plan.models import MODELS


class Size(Mapping):
    """As transformers' own, which is no dictionary."""

    def __init__(self, **sides):
        self._sides = sides

    def __getitem__(self, name):
        return self._sides[name]

    def __iter__(self):
        return iter(self._sides)

    def __len__(self):
        return len(self._sides)


def loaded(values):
    """An object that says what it holds."""
    return SimpleNamespace(to_dict=lambda: values)


def test_what_is_loaded_is_announced():
    files = MODELS["qwen2_vl"]
    image = {**files["image"], "size": Size(**files["image"]["size"]), "resample": object(), "image_mean": (0.5, 0.5)}
    processor = SimpleNamespace(image_processor=loaded(image), video_processor=loaded(files["video"]))
    announced = announce_family(loaded(files["model"]), lambda: processor, {})
    family = announced_family(announced)
    assert (family.name, family.image(280, 280).tokens) == ("qwen2_vl", 100)


def test_processors_that_are_no_transformers_ones():
    files = MODELS["idefics3"]
    processor = SimpleNamespace(image_processor=SimpleNamespace(**files["image"]), image_seq_len=169)
    announced = announce_family(loaded(files["model"]), lambda: processor, None)
    assert announced == {
        "family": "idefics3",
        "parameters": {"longest_side": 1456, "tile_size": 364, "tile_tokens": 169, "split": True},
    }


@pytest.mark.parametrize("options", [{"max_pixels": 1000}, {"size": {}}])
def test_options_that_nobody_here_follows(options):
    processor = SimpleNamespace(image_processor=loaded(MODELS["qwen2_vl"]["image"]))
    with capture_logs() as logs:
        assert announce_family(loaded({"model_type": "qwen2_vl"}), lambda: processor, options) == {}
    [line] = logs
    assert (line["event"], line["log_level"]) == ("media_not_planned", "info")
    assert next(iter(options)) in line["reason"]


def test_a_model_s_own_code_that_fails_costs_only_the_plan():
    def fails():
        raise RuntimeError("no such file")

    with capture_logs() as logs:
        assert announce_family(loaded({"model_type": "qwen2_vl"}), fails, {}) == {}
    [line] = logs
    assert (line["event"], line["log_level"]) == ("media_not_planned", "warning")
    assert "no such file" in line["reason"]
