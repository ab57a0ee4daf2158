"""Choices are weighed by the model's own tokenizer, as long as that is there."""

from __future__ import annotations

import gc
from dataclasses import replace
from weakref import ref

from tessera.gateway.item_choices import ABOUT, Scale, choices_of
from tessera.gateway.planning import tokens_of
from tessera.media import MediaItem, Modality
from tessera.prompt import PromptCounter, PromptFiles
from tests.gateway.test_planning import family
from tests.tiny import tokenizer

PLAN = family("internvl").video([0.0, 0.5, 1.0], 640, 360)


def counter(folder):
    """One token a byte."""
    tokenizer.write(folder, ())
    return PromptCounter(PromptFiles(tokenizer=(folder / "tokenizer.json").read_text()))


def test_what_is_written_as_text_is_counted_by_the_tokenizer(tmp_path):
    one = counter(tmp_path)
    weigh = Scale("digest", ref(one))
    assert weigh(PLAN) == PLAN.tokens + sum(len(text) for text in PLAN.texts) > tokens_of(PLAN)
    assert weigh(family("llava").image(9, 9)) == 576


def test_a_tokenizer_that_is_gone_is_not_kept_for_it(tmp_path):
    one = counter(tmp_path)
    weigh = Scale("digest", ref(one))
    assert {weigh: 1}[replace(weigh, counter=None)] == 1  # as part of a key
    del one
    gc.collect()
    assert weigh(PLAN) == ABOUT(PLAN) == tokens_of(PLAN)


def test_videos_are_within_a_budget_in_the_tokenizer_s_own_tokens(tmp_path):
    one = counter(tmp_path)
    times = {"fps": 2.0, "frames_indices": list(range(12)), "total_num_frames": 12}
    item = MediaItem(Modality.VIDEO, "", (12, 360, 640, 3), 0, times)
    for choice in choices_of(family("internvl"), item, Scale("digest", ref(one)), thin=True):
        frames = 12 if choice.frames is None else len(choice.frames)
        plan = family("internvl").video([i / 2 for i in range(frames)], 640, 360)
        assert choice.tokens == plan.tokens + sum(len(text) for text in plan.texts)
