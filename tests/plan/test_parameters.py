"""A parameter that is missing, or is not what it should be, makes a family unknown; it never makes a wrong number."""

from __future__ import annotations

import copy
import json

import pytest

from tessera.plan import Configuration, UnknownFamily, Unplannable, announced_family, read_family
from tests.plan.models import MODELS, QWEN2_VIDEO, qwen_sizes

QWEN = MODELS["qwen2_vl"]


def places(value, path=()):
    """All members of objects within, the innermost last."""
    for name, member in value.items():
        yield (*path, name)
        if isinstance(member, dict):
            yield from places(member, (*path, name))


def without(files, path):
    files = copy.deepcopy(files)
    holder = files
    for name in path[:-1]:
        holder = holder[name]
    del holder[path[-1]]
    return files


@pytest.mark.parametrize("name", sorted(MODELS))
def test_what_is_missing_is_named_or_not_needed(name):
    whole = read_family(Configuration.of(**MODELS[name]))
    for path in places(MODELS[name]):
        if len(path) == 1:
            continue
        family, reason = read(without(MODELS[name], path))
        if family is None:
            assert path[-1] in reason or path[1] in reason
        else:
            # It made no difference, or it has a value by default.
            assert family == whole or path[0] in ("options", "tokenizer") or path[-1] == "cap_pixels_per_frame"


def read(files):
    """The family, or why there is none."""
    try:
        return read_family(Configuration.of(**files)), ""
    except UnknownFamily as error:
        return None, str(error)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "14", True, None, [14], {}])
def test_a_number_of_another_kind(wrong):
    files = {**QWEN, "image": {**QWEN["image"], "patch_size": wrong}}
    with pytest.raises(UnknownFamily, match="patch_size"):
        read_family(Configuration.of(**files))


@pytest.mark.parametrize("wrong", [[], [[1]], [[1, 2, 3]], [[1, "2"]], [[1, 0]], 7, "ab", [[True, 1]]])
def test_pairs_of_another_kind(wrong):
    model = {**MODELS["llava_next"]["model"], "image_grid_pinpoints": wrong}
    with pytest.raises(UnknownFamily, match="image_grid_pinpoints"):
        read_family(Configuration.of(model))


def test_a_processor_that_does_something_else():
    for change in ({"do_resize": False}, {"merge_size": 4}):
        files = {**QWEN, "video": {**QWEN2_VIDEO, **change}}
        with pytest.raises(UnknownFamily, match=next(iter(change))):
            read_family(Configuration.of(**files))
    with pytest.raises(UnknownFamily, match="mm-processor-kwargs"):
        read_family(Configuration.of(**QWEN, options={"max_pixels": 1000}))


def test_a_model_of_another_kind():
    with pytest.raises(UnknownFamily, match="some_model"):
        read_family(Configuration.of({"model_type": "some_model"}))
    with pytest.raises(UnknownFamily, match="model_type"):
        read_family(Configuration.of({}))
    vision = {"model_type": "swin", "image_size": 336, "patch_size": 14}
    model = {"model_type": "llava", "vision_config": vision, "vision_feature_select_strategy": "default"}
    with pytest.raises(UnknownFamily, match="swin"):
        read_family(Configuration.of(model))


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_family_travels_as_json(name):
    family = read_family(Configuration.of(**MODELS[name]))
    announced = json.loads(json.dumps(family.to_json()))
    assert announced_family(announced) == family
    for parameter in announced["parameters"]:
        missing = {key: value for key, value in announced["parameters"].items() if key != parameter}
        with pytest.raises(UnknownFamily, match=parameter):
            announced_family({**announced, "parameters": missing})
        with pytest.raises(UnknownFamily, match=parameter):
            announced_family({**announced, "parameters": {**announced["parameters"], parameter: "x"}})


@pytest.mark.parametrize("value", [{}, {"family": "qwen9_vl", "parameters": {}}, {"family": "llava"}, {"family": None}])
def test_a_family_that_nobody_here_knows(value):
    with pytest.raises(UnknownFamily):
        announced_family(value)


def test_a_newer_worker_may_announce_more():
    family = read_family(Configuration.of(**QWEN))
    more = family.to_json()
    more["parameters"]["of_tomorrow"] = 1
    assert announced_family(more) == family


def test_bounds_that_a_request_sets():
    omni = read_family(Configuration.of(**MODELS["qwen2_5_omni"]))
    assert omni.within(None, None) is omni
    narrow = omni.within(None, 28 * 28 * 100)
    assert narrow.image(4000, 4000).tokens == 100
    # Videos follow the video processor's own bounds then.
    assert omni.video([0.0, 0.5], 56, 56).tokens > narrow.video([0.0, 0.5], 56, 56).tokens == 4
    vl = read_family(Configuration.of(**QWEN)).within(28 * 28 * 50, None)
    assert vl.image(28, 28).tokens >= 50
    with pytest.raises(Unplannable):
        read_family(Configuration.of(**MODELS["llava"])).within(1, None)


def test_what_a_model_does_not_take_is_refused():
    llava, audio = (read_family(Configuration.of(**MODELS[name])) for name in ("llava", "qwen2_audio"))
    for call in (
        lambda: llava.audio(16000),
        lambda: llava.video([0.0], 10, 10),
        lambda: audio.image(10, 10),
        lambda: read_family(Configuration.of(**MODELS["nvlm_d"])).video([0.0], 10, 10),
    ):
        with pytest.raises(Unplannable, match="takes no"):
            call()


def test_sizes_that_a_processor_refuses():
    qwen3 = read_family(Configuration.of(**MODELS["qwen3_vl"]))
    with pytest.raises(Unplannable, match="fewer than 2 frames"):
        qwen3.video([0.0], 100, 100)
    with pytest.raises(Unplannable, match="200 times"):
        qwen3.image(10_000, 40)
    with pytest.raises(Unplannable, match="too short"):
        read_family(Configuration.of(**MODELS["qwen2_audio"])).audio(100)


def test_qwen3_writes_the_middle_of_each_pair_of_frames():
    files = {**MODELS["qwen3_vl"], "image": qwen_sizes(16, 65_536, 16_777_216)}
    plan = read_family(Configuration.of(**files)).video([0.0, 0.5, 1.0], 320, 320)
    assert plan.texts == ("<0.2 seconds>", "<1.0 seconds>")
    assert plan.frames == 4
