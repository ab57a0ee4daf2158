from __future__ import annotations

import pytest

from tessera.media.sampling import SAMPLERS, sample


def test_uniform_takes_all_frames_of_a_short_video_and_both_ends_of_a_long_one():
    assert sample(5, 25.0, max_frames=32, target_fps=None, rule=None) == [0, 1, 2, 3, 4]
    assert sample(100, 25.0, max_frames=4, target_fps=None, rule=None) == [0, 33, 66, 99]
    assert sample(1, 25.0, max_frames=4, target_fps=None, rule=None) == [0]
    assert sample(100, 25.0, max_frames=32, target_fps=1.0, rule="opencv") == [0, 33, 66, 99]


def test_qwen2_takes_an_even_number_of_frames_at_its_rate():
    assert sample(50, 25.0, max_frames=768, target_fps=2.0, rule=None) == [0, 12, 25, 37]
    assert sample(250, 25.0, max_frames=8, target_fps=2.0, rule="qwen2_vl") == [0, 31, 62, 93, 125, 156, 187, 218]
    assert sample(1, 25.0, max_frames=768, target_fps=2.0, rule="qwen2_vl") == [0]


def test_qwen2_rounds_as_torch_does_in_float32():
    # torch.arange(0, 451, 451 / 36).int(): recorded from torch 2.13.
    indices = sample(451, 25.0, max_frames=768, target_fps=2.0, rule="qwen2_vl")
    assert len(indices) == 36
    assert indices[:5] == [0, 12, 25, 37, 50]
    assert indices[-1] == 438


def test_qwen3_rounds_to_the_nearest_frame():
    assert sample(50, 25.0, max_frames=768, target_fps=2.0, rule="qwen3_vl") == [0, 16, 33, 49]


@pytest.mark.parametrize("rule", SAMPLERS)
def test_every_rule_gives_sorted_distinct_frames_that_exist(rule):
    for total in [1, 2, 3, 5, 31, 32, 33, 451, 7919, 108_000]:
        for fps in (0.1, 23.976, 30.0, 1000.0):
            for most in (1, 2, 32, 768):
                indices = sample(total, fps, max_frames=most, target_fps=2.0, rule=rule)
                assert indices == sorted(set(indices))
                assert 1 <= len(indices) <= most
                assert indices[0] >= 0
                assert indices[-1] < total
