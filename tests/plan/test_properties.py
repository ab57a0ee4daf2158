"""What holds for every family and every item."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tessera.plan import IMAGE, VIDEO, Configuration, Family, Unplannable, announced_family, read_family
from tests.plan.models import MODELS

SIDES = st.integers(1, 6000)
NAMES = st.sampled_from(sorted(MODELS))


def family(name: str) -> Family:
    return read_family(Configuration.of(**MODELS[name]))


@given(name=NAMES, width=SIDES, height=SIDES)
@settings(deadline=None, max_examples=400)
def test_a_plan_is_the_same_every_time_and_its_parts_fit(name, width, height):
    counts = family(name)
    if IMAGE not in counts.modalities:
        with pytest.raises(Unplannable):
            counts.image(width, height)
        return
    try:
        plan = counts.image(width, height)
    except Unplannable:
        return
    assert plan == counts.image(width, height)
    assert 0 < plan.embedded <= plan.tokens
    assert min(plan.size) > 0
    assert plan.grid.tiles >= 1
    # What was announced counts as what was read.
    assert announced_family(counts.to_json()).image(width, height) == plan


@given(frames=st.integers(1, 200), width=SIDES, height=SIDES)
@settings(deadline=None, max_examples=100)
def test_more_frames_are_never_fewer_tokens_where_each_is_of_one_size(frames, width, height):
    for name in ("internvl", "llava_onevision", "qwen2_5_omni:nano", "ovis2_5"):
        counts = family(name)
        assert VIDEO in counts.modalities
        try:
            fewer, more = (counts.video([0.5 * i for i in range(n)], width, height) for n in (frames, frames + 1))
        except Unplannable:
            continue
        assert fewer.tokens <= more.tokens
        assert fewer.frames >= frames


@given(width=st.integers(300, 3000), height=st.integers(300, 3000), most=st.integers(50_000, 200_704))
@settings(deadline=None, max_examples=300)
def test_bounds_hold_and_the_shape_stays(width, height, most):
    plan = family("qwen2_5_omni:nano").within(None, most).image(width, height)
    assert plan.size.width * plan.size.height <= most
    # No more than the rounding of each side to 28 pixels changes the shape of what is far above its bound.
    if width * height > 1.5 * most:
        scale = math.sqrt(most / (width * height))
        for made, original in zip(plan.size, (width, height), strict=True):
            assert abs(made - original * scale) <= 28


@given(width=SIDES, height=SIDES, most=st.integers(12544, 200704), more=st.integers(0, 100_000))
@settings(deadline=None, max_examples=300, derandomize=True)
def test_a_larger_bound_never_gives_fewer_tokens(width, height, most, more):
    # Of a picture that is narrower than two patches the processor rounds the narrow side up, by more than it may.
    assume(min(width, height) >= 56)
    nano = family("qwen2_5_omni:nano")
    try:
        few, many = (nano.within(None, bound).image(width, height).tokens for bound in (most, most + more))
    except Unplannable:
        return
    assert few <= many


@given(samples=st.integers(1, 10_000_000))
@settings(deadline=None, max_examples=300)
def test_a_longer_sound_never_has_fewer_tokens(samples):
    for name in ("qwen2_5_omni", "qwen2_audio", "phi4mm"):
        counts = family(name)
        try:
            shorter, longer = counts.audio(samples), counts.audio(samples + 160)
        except Unplannable:
            continue
        assert shorter.tokens <= longer.tokens
        assert shorter.heard <= samples
