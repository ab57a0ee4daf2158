"""Numbers that papers and projects publish, or that vLLM's own functions gave."""

from __future__ import annotations

import pytest

from tessera.plan import Configuration, Family, best, hybrid_frame_tokens, image_choices, msac, read_family
from tests.plan.models import MODELS


def family(name: str) -> Family:
    return read_family(Configuration.of(**MODELS[name]))


# Pixels; grid and tiles with the thumbnail: InternVL 1-12, NVLM 1-6; Mini-Monkey's two grids and all their tiles.
GRIDS = [
    ((448, 448), ((1, 1), 1), ((1, 1), 1), ((2, 2), (2, 3), 11)),
    ((640, 480), ((4, 3), 13), ((3, 2), 7), ((4, 3), (3, 2), 19)),
    ((1000, 1000), ((3, 3), 10), ((2, 2), 5), ((3, 3), (2, 2), 14)),
    ((1344, 896), ((3, 2), 7), ((3, 2), 7), ((3, 2), (2, 2), 11)),
    ((1920, 1080), ((4, 2), 9), ((2, 1), 3), ((4, 2), (3, 2), 15)),
    ((1240, 1754), ((2, 3), 7), ((2, 3), 7), ((2, 3), (2, 2), 11)),
    ((3000, 500), ((6, 1), 7), ((6, 1), 7), ((6, 1), (7, 1), 14)),
]


@pytest.mark.parametrize(("size", "internvl", "nvlm", "mini_monkey"), GRIDS)
def test_grids_of_internvl_nvlm_and_mini_monkey(size, internvl, nvlm, mini_monkey):
    for name, (grid, tiles) in (("internvl", internvl), ("nvlm_d", nvlm)):
        plan = family(name).image(*size)
        assert plan.grid == grid
        assert plan.grid.tiles + plan.thumbnail == tiles
        assert plan.embedded == tiles * 256
    both = msac(*size, 448)
    assert (both.detail, both.adaptive, both.tiles) == mini_monkey


def test_nvlm_tags_its_tiles():
    plan = family("nvlm_d").image(1344, 896)
    assert plan.embedded == 1792
    assert "".join(plan.texts) == (
        "<Image><tile_1><tile_2><tile_3><tile_4><tile_5><tile_6><tile_global_thumbnail></Image>\n"
    )
    assert "".join(family("nvlm_d").image(448, 448).texts) == "<Image><tile_global_thumbnail></Image>\n"


def test_mmsci_s_wide_tables_are_one_row_of_tiles():
    plan = family("internvl").image(3000, 500)
    assert (plan.grid, plan.size) == ((6, 1), (2688, 448))


def test_giraffe_s_frames_have_120_tokens_on_average():
    tokens = hybrid_frame_tokens(1024)
    assert sum(tokens) == 1024 * 120 == 122_880
    group, most, shrink = 4, 240, 3
    assert sum(tokens) / len(tokens) == most * (1 + (group - 1) / shrink) / group


def test_mplug_s_queries_are_as_many_whatever_the_pixels():
    fixed = family("llava")
    assert {fixed.image(width, 500).tokens for width in (10, 448, 5000)} == {576}


def test_infmllm_s_pooled_patches_keep_their_rows():
    # 24x24 patches, row by row, as the encoder's grid is.
    plan = family("llava_next").image(672, 672)
    # The whole image, then 48 rows of 48 patches, each with a token at its end.
    assert plan.tokens == 24 * 24 + 48 * (48 + 1)


def test_the_embedded_model_counts_as_it_was_trained():
    nano = family("qwen2_5_omni:nano")
    assert nano.image(112, 112).tokens == 16
    assert nano.image(4000, 4000).tokens == 256
    assert nano.audio(16000).tokens == 25
    assert nano.audio(16000 * 60).tokens == nano.audio(16000 * 10).tokens == 250


def test_ovis_counts_a_start_each_tile_and_what_divides_rows_and_columns():
    # The whole image and 2x2 tiles of 255 tokens, four marks, one token for each tile, one between columns and rows.
    assert family("ovis").image(896, 896).tokens == 5 * 255 + 4 + 4 + 2 + 1
    assert family("ovis").image(448, 448).tokens == 255 + 4


@pytest.mark.parametrize("tokens", [9, 36, 144, 576])
def test_matryoshka_s_granularities_are_kept_exactly(tokens):
    # A square image of n x n tokens, by its size: without the pooling after the projector, any weights can do it.
    choice = best(image_choices(family("qwen2_vl"), 2000, 2000, lambda plan: plan.tokens), tokens)
    assert choice is not None
    assert choice.tokens == tokens
    assert family("qwen2_vl").image(*choice.size).tokens == tokens
