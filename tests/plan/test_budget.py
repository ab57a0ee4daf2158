"""What an item can be, and what it gets of a budget: for every family, every size, every budget."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.gateway.planning import tokens_of
from tessera.plan import (
    IMAGE,
    VIDEO,
    Choice,
    Configuration,
    Family,
    Unplannable,
    best,
    image_choices,
    least_tokens,
    read_family,
    spread,
    video_choices,
)
from tests.plan.models import MODELS

FAMILIES: dict[str, Family] = {name: read_family(Configuration.of(**files)) for name, files in MODELS.items()}
OF_IMAGES = [name for name, family in FAMILIES.items() if IMAGE in family.modalities]
OF_VIDEOS = [name for name, family in FAMILIES.items() if VIDEO in family.modalities]
# Families whose tokens no size changes; of Idefics3 the processor is told another one.
FIXED = {"internvl:fixed", "llava", "llava:siglip", "gemma3", "idefics3", "idefics3:smolvlm", "idefics3:whole"}
SIDES = st.one_of(st.integers(1, 4000), st.integers(28, 1200))
BUDGETS = st.integers(1, 20_000)


def of_image(name: str, width: int, height: int) -> tuple[Choice, ...]:
    try:
        return image_choices(FAMILIES[name], width, height, tokens_of)
    except Unplannable:
        return ()


def of_video(name: str, frames: int, width: int, height: int, **options: bool) -> tuple[Choice, ...]:
    try:
        return video_choices(FAMILIES[name], [i / 2 for i in range(frames)], width, height, tokens_of, **options)
    except Unplannable:
        return ()


@given(name=st.sampled_from(OF_IMAGES), width=SIDES, height=SIDES)
@settings(deadline=None, max_examples=400)
def test_an_image_can_be_what_its_family_says_and_more_tokens_show_more(name, width, height):
    choices = of_image(name, width, height)
    family = FAMILIES[name]
    for choice in choices:
        shown = family.image(*(choice.size or (width, height)))
        assert choice.tokens == tokens_of(shown)
    for fewer, more in pairwise(choices):
        assert fewer.tokens < more.tokens
    for fewer, more in pairwise(choices[:-1]):
        assert fewer.level < more.level
    assert not choices or choices[-1].untouched
    assert choices == of_image(name, width, height)


@pytest.mark.parametrize("name", OF_IMAGES)
def test_a_large_image_can_be_fewer_tokens_unless_its_size_does_not_matter(name):
    choices = of_image(name, 2400, 1800)
    assert (len(choices) == 1) == (name in FIXED)
    assert name in FIXED or choices[0].tokens < 0.6 * choices[-1].tokens


@pytest.mark.parametrize("name", [name for name in OF_IMAGES if FAMILIES[name].fewer()])
def test_a_family_that_enlarges_every_image_is_told_a_smaller_size(name):
    family = FAMILIES[name]
    counts = [tokens_of(family.told(options).image(1600, 1200)) for options in (*family.fewer(), {})]
    assert counts == sorted(set(counts))
    assert counts[0] < counts[-1] / 4


@given(name=st.sampled_from(OF_IMAGES), width=st.integers(200, 4000), height=st.integers(200, 4000))
@settings(deadline=None, max_examples=400)
def test_an_image_keeps_its_shape_but_for_its_family_s_own_rounding(name, width, height):
    family = FAMILIES[name]
    if not 0.1 < width / height < 10:
        return
    for choice in of_image(name, width, height)[:-1]:
        assert choice.size is not None
        if hasattr(family, "thumbnail"):
            # Tiles: the shape is that of the grid, which the processor gives every image.
            assert {side % family.tile_size for side in choice.size} == {0}
            continue
        scale = max(made / given for made, given in zip(choice.size, (width, height), strict=True))
        step = getattr(family, "factor", 1)
        step = max(step, getattr(family, "patch_size", 1) * getattr(family, "hidden_stride", 1))
        for made, given_ in zip(choice.size, (width, height), strict=True):
            assert abs(made - given_ * scale) <= 2 * max(step, 1) * max(1, max(width, height) / min(width, height))


@given(name=st.sampled_from(OF_VIDEOS), frames=st.integers(1, 60), width=SIDES, height=SIDES, thin=st.booleans())
@settings(deadline=None, max_examples=150)
def test_a_video_can_be_what_its_family_says(name, frames, width, height, thin):
    times = [i / 2 for i in range(frames)]
    choices = of_video(name, frames, width, height, thin=thin)
    for choice in choices:
        kept = choice.frames if choice.frames is not None else tuple(range(frames))
        assert list(kept) == sorted(set(kept))
        assert kept[0] >= 0
        assert kept[-1] < frames
        assert thin or len(kept) == frames
        assert choice.tokens == tokens_of(
            FAMILIES[name].video([times[i] for i in kept], *(choice.size or (width, height)))
        )
        if choice.size is not None:
            assert choice.size.width <= width
            assert choice.size.height <= height
    for fewer, more in pairwise(choices):
        assert fewer.tokens < more.tokens
    assert not choices or choices[-1].untouched


@pytest.mark.parametrize("name", OF_VIDEOS)
def test_a_video_saves_frames_and_pixels_alike_where_both_can_be_saved(name):
    choices = of_video(name, 40, 1280, 720)
    half = best(choices, choices[-1].tokens // 4)
    assert half is not None
    assert half.frames is not None
    if name.startswith(("internvl", "llava_onevision")):
        assert half.size is None  # frames are squares of one size
        assert len(half.frames) == pytest.approx(10, abs=2)
    elif name in ("qwen2_vl", "qwen2_5_omni", "qwen3_omni"):
        # Half of the frames, half of the area.
        assert len(half.frames) == pytest.approx(20, abs=6)
    # The ends stay, and no stretch is left out.
    assert (half.frames[0], half.frames[-1]) == (0, 39)
    gaps = [later - earlier for earlier, later in pairwise(half.frames)]
    assert max(gaps) - min(gaps) <= 1


ITEMS = st.lists(
    st.tuples(st.booleans(), st.integers(1, 24), st.integers(28, 2000), st.integers(28, 2000)), min_size=1, max_size=5
)


@given(name=st.sampled_from(OF_VIDEOS), items=ITEMS, budget=BUDGETS, more=st.integers(0, 4000))
@settings(deadline=None, max_examples=150)
def test_a_larger_budget_never_gives_an_item_fewer_tokens(name, items, budget, more):
    chains = [
        chain
        for video, frames, width, height in items
        if (chain := of_video(name, frames, width, height) if video else of_image(name, width, height))
    ]
    small, large = spread(chains, budget), spread(chains, budget + more)
    if small is None:
        assert least_tokens(chains) > budget
        return
    assert large is not None
    for choices, total in ((small, budget), (large, budget + more)):
        assert sum(choice.tokens for choice in choices) <= total
    assert all(before.tokens <= after.tokens for before, after in zip(small, large, strict=True))
    assert small == spread(chains, budget)
    if sum(chain[-1].tokens for chain in chains) <= budget:
        assert all(choice.untouched for choice in small)


@given(name=st.sampled_from(OF_IMAGES), width=SIDES, height=SIDES, budget=BUDGETS, more=st.integers(0, 4000))
@settings(deadline=None, max_examples=300)
def test_one_image_gets_the_most_that_it_may(name, width, height, budget, more):
    choices = of_image(name, width, height)
    if not choices:
        return
    small, large = best(choices, budget), best(choices, budget + more)
    if small is None:
        assert choices[0].tokens > budget
        return
    assert large is not None
    assert small.tokens <= min(budget, large.tokens)
    assert spread([choices], budget) == [small]


def test_a_page_gets_more_than_an_icon_beside_it():
    page, icon = of_image("qwen2_vl", 2480, 3508), of_image("qwen2_vl", 224, 224)
    chosen = spread([page, icon], 2000)
    assert chosen is not None
    of_page, of_icon = (choice.tokens for choice in chosen)
    assert of_page > 30 * of_icon
    # Both show about as much of themselves along a side.
    assert math.isclose(chosen[0].level, chosen[1].level, rel_tol=0.35)
