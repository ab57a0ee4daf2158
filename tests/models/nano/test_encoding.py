"""What the model learns from is what transformers' processor makes of the same message, token for token."""

from __future__ import annotations

import math

import pytest
import torch

from models.nano.batches import Steps, batches
from models.nano.checkpoint import load_processor
from models.nano.curriculum import KINDS
from models.nano.encoding import IGNORED, Encoder
from models.nano.example import SAMPLE_RATE, Clip, Picture, Sound
from models.nano.network import new_model
from models.nano.recipe import Recipe, Stage
from models.nano.tokenizer import MEDIA_TOKENS
from models.nano.vocabulary import ACROSS, DOWN, LABELS, WORDS
from tests.models.nano.reference import processed

SEEDS = range(4)


@pytest.fixture(scope="module")
def processor(checkpoint):
    return load_processor(checkpoint)


@pytest.fixture(scope="module")
def encoder(processor):
    return Encoder(processor)


@pytest.mark.parametrize("kind", KINDS)
class TestEveryKind:
    def test_tokens_pixels_and_frames_are_the_processor_s(self, learnt, processor, encoder, kind):
        for seed in SEEDS:
            example = learnt.example(kind, seed)
            question = example.questions[0]
            encoded = encoder.encode(example, [question])
            inputs = processed(processor, example, question)
            asked = inputs["input_ids"][0]
            assert encoded.ids[: len(asked)].tolist() == asked.tolist()
            for name in ("pixel_values", "pixel_values_videos"):
                if name in inputs:
                    assert inputs[name].shape[1] == encoded.patches.shape[1]
            pixels = [p for name in ("pixel_values", "pixel_values_videos") if (p := inputs.get(name)) is not None]
            assert sum(len(p) for p in pixels) == len(encoded.patches)
            if len(pixels) == 1:
                assert torch.equal(pixels[0].bfloat16(), encoded.patches)
            if encoded.mel:
                frames = encoded.mel[0].shape[1]
                assert int(inputs["feature_attention_mask"].sum()) == frames
                assert torch.equal(inputs["input_features"][0, :, :frames], encoded.mel[0])

    def test_the_answer_and_its_end_are_learnt_and_nothing_else(self, learnt, processor, encoder, kind):
        for seed in SEEDS:
            example = learnt.example(kind, seed)
            for question in example.questions:
                encoded = encoder.encode(example, [question])
                learns = encoded.targets[encoded.targets != IGNORED]
                assert processor.tokenizer.decode(learns) == f"{question.answer}<|im_end|>"

    def test_positions_are_the_model_s(self, learnt, processor, encoder, checkpoint, kind):
        model = new_model(checkpoint)
        for seed in SEEDS:
            example = learnt.example(kind, seed)
            encoded = encoder.encode(example, example.questions[:1])
            inputs = processed(processor, example, example.questions[0])
            sounds = inputs.get("feature_attention_mask")
            expected, _ = model.get_rope_index(
                encoded.ids[None],
                inputs.get("image_grid_thw"),
                inputs.get("video_grid_thw"),
                torch.ones_like(encoded.ids)[None],
                False,
                None if sounds is None else sounds.sum(-1),
                torch.as_tensor(inputs["video_second_per_grid"]) if "video_second_per_grid" in inputs else None,
            )
            assert torch.equal(expected[:, 0].long(), encoded.positions)

    def test_branches_share_what_they_have_in_common(self, learnt, encoder, kind):
        for seed in SEEDS:
            example = learnt.example(kind, seed)
            if example.question_first or not example.media:
                continue
            together = encoder.encode(example, example.questions)
            for number, question in enumerate(example.questions, start=1):
                alone = encoder.encode(example, [question])
                mine = (together.branch == 0) | (together.branch == number)
                if len(example.questions) == 1:
                    mine = together.branch >= 0
                assert torch.equal(together.ids[mine], alone.ids)
                assert torch.equal(together.positions[:, mine], alone.positions)
                assert torch.equal(together.targets[mine], alone.targets)
                names = mine[together.names]
                assert torch.equal(together.ids[together.names[names]], alone.ids[alone.names])
                assert sorted(together.named[names].tolist()) == sorted(alone.named.tolist())


def test_questions_as_turns_of_one_conversation(learnt, processor, encoder):
    example = learnt.example("one object", 1)
    encoded = encoder.encode(example, example.questions, one_dialogue=True)
    text = processor.tokenizer.decode(encoded.ids)
    assert text.count("<|im_start|>user") == len(example.questions)
    learns = processor.tokenizer.decode(encoded.targets[encoded.targets != IGNORED])
    assert learns == "".join(f"{question.answer}<|im_end|>" for question in example.questions)


def test_printed_text_is_read_character_by_character(processor):
    for text in (*WORDS, "1", "4711", "B52"):
        tokens = processor.tokenizer.tokenize(f'It says "{text.upper()}".')
        assert tokens[-len(text) - 1 : -1] == list(text.upper())


class TestLabels:
    def test_tokens_of_a_picture_say_what_is_in_them(self, learnt, encoder):
        for seed in range(20):
            example = learnt.example("one object", seed)
            [picture] = example.media
            assert isinstance(picture, Picture)
            encoded = encoder.encode(example, example.questions[:1])
            _, rows, columns = encoded.grids[0]
            seen = encoded.seen.view(rows // 2, columns // 2, -1)
            left, top, right, bottom = picture.regions[0].box
            row = int((top + bottom) / 2 / picture.pixels.shape[0] * rows / 2)
            column = int((left + right) / 2 / picture.pixels.shape[1] * columns / 2)
            shown = {LABELS[i] for i in seen[row, column].nonzero().flatten()}
            assert shown - {*ACROSS, *DOWN} == set(picture.regions[0].labels)
            assert len(shown & set(ACROSS)) == math.ceil((column + 0.5) / (columns / 2) * 8) - 1
            assert len(shown & set(DOWN)) == math.ceil((row + 0.5) / (rows / 2) * 8) - 1

    def test_tokens_of_a_clip_say_when(self, learnt, encoder):
        for seed in range(12):
            example = learnt.example("video", seed)
            [clip] = example.media
            assert isinstance(clip, Clip)
            encoded = encoder.encode(example, example.questions[:1])
            time, rows, columns = encoded.grids[0]
            seen = encoded.seen.view(time, rows * columns // 4, -1).amax(1)
            for index in range(time):
                there = {label for f in clip.regions[2 * index : 2 * index + 2] for r in f for label in r.labels}
                assert {LABELS[i] for i in seen[index].nonzero().flatten()} - {*ACROSS, *DOWN} == there

    def test_tokens_of_a_sound_say_what_is_heard(self, learnt, encoder):
        for seed in range(12):
            example = learnt.example("sound", seed)
            [sound] = example.media
            assert isinstance(sound, Sound)
            encoded = encoder.encode(example, example.questions[:1])
            assert len(encoded.heard) == pytest.approx(len(sound.samples) / SAMPLE_RATE * 25, abs=1)
            for span in sound.spans:
                middle = encoded.heard[int((span.start + span.end) / 2 * 25)]
                assert [LABELS[i] for i in middle.nonzero().flatten()] == list(span.labels)


class TestNames:
    @pytest.mark.parametrize("kind", ["one object", "count", "position"])
    def test_what_only_one_thing_is_called_says_what_is_true_of_it(self, learnt, processor, encoder, kind):
        found = 0
        for seed in range(60):
            example = learnt.example(kind, seed)
            [picture] = example.media
            assert isinstance(picture, Picture)
            height, width = picture.pixels.shape[:2]
            called = [(*region.labels[:2], " ".join(region.labels[:2])) for region in picture.regions]
            encoded = encoder.encode(example, [example.questions[seed % len(example.questions)]])
            tokens = [processor.tokenizer.decode(token) for token in encoded.ids]
            seen = max(at for at, token in enumerate(tokens) if token == "<|vision_eos|>")
            named = dict(zip(encoded.names.tolist(), encoded.named, strict=True))
            for at in range(seen + 1, len(tokens)):
                said = [tokens[at], tokens[at - 1] + tokens[at]]
                names = [name for names in called for name in names if f" {name}" in said]
                only = [name for name in names if names.count(name) == 1]
                assert (at in named) == bool(only)
                if not only:
                    continue
                [region] = [r for r, names in zip(picture.regions, called, strict=True) if only[0] in names]
                true = {LABELS[i] for i in named[at].nonzero().flatten()}
                assert true - {*ACROSS, *DOWN} == set(region.labels)
                left, top, right, bottom = region.box
                assert len(true & set(ACROSS)) == math.ceil((left + right) / 2 / width * 8) - 1
                assert len(true & set(DOWN)) == math.ceil((top + bottom) / 2 / height * 8) - 1
                found += 1
        assert found > 20

    def test_a_name_that_two_things_share_means_neither(self, learnt, encoder):
        shared = 0
        for seed in range(200):
            example = learnt.example("count", seed)
            [picture] = example.media
            assert isinstance(picture, Picture)
            names = [region.labels[:2] for region in picture.regions]
            if len(names) == len(set(names)):
                continue
            shared += 1
            unique = {name for name in names if names.count(name) == 1}
            encoded = encoder.encode(example, example.questions)
            for labels in encoded.named:
                assert tuple(LABELS[i] for i in labels.nonzero().flatten()[:2]) in unique
        assert shared

    def test_nothing_is_named_where_it_is_not_seen(self, learnt, encoder):
        for kind in ("two images", "mixed", "video", "text only", "unanswerable"):
            for seed in SEEDS:
                example = learnt.example(kind, seed)
                assert len(encoder.encode(example, example.questions[:1]).names) == 0


class TestBatches:
    def test_all_tokens_are_there_once(self, learnt, encoder):
        examples = [learnt.any_example(seed, Stage.ANSWERING) for seed in range(30)]
        encoded = [encoder.encode(e, e.questions[:1]) for e in examples]
        made = list(batches(encoded))
        assert sum(int((b.targets != IGNORED).sum()) for b in made) == sum(
            int((e.targets != IGNORED).sum()) for e in encoded
        )
        assert all(b.ids.shape[1] % 256 == 0 and len(b.patches) % 256 == 0 for b in made)
        assert all(b.ids.shape[1] == sum(len(mask) for mask in b.visible) for b in made)
        assert all(int(b.grids.prod(1).sum()) == len(b.patches) for b in made)
        named = [token for b in made for token in b.ids[0, b.names].tolist()]
        assert named == [token for e in encoded for token in e.ids[e.names].tolist()]
        assert named

    def test_a_step_is_a_function_of_its_number_and_shared_among_processes(self, learnt, encoder):
        recipe = Recipe(steps=8, looking=3, annealing=0.25, batch=6)
        alone = Steps(learnt, encoder, recipe, 0, 1)
        again = Steps(learnt, encoder, recipe, 0, 1)
        shares = [Steps(learnt, encoder, recipe, rank, 2) for rank in (0, 1)]

        def learns(steps, number):
            return sorted(t for b in steps[number] for t in b.targets[b.targets != IGNORED].tolist())

        for number in (1, 3, 6):  # of each stage
            assert learns(alone, number) == learns(again, number)
            assert learns(alone, number) != learns(alone, number + 1)
            assert learns(alone, number) == sorted(learns(shares[0], number) + learns(shares[1], number))

    def test_text_is_in_batches_of_its_own_while_the_model_looks(self, learnt, encoder, processor):
        steps = Steps(learnt, encoder, Recipe(looking=4, batch=30), 0, 1)
        media = {processor.tokenizer.convert_tokens_to_ids(token) for token in MEDIA_TOKENS.values()}
        seen = set()
        for batch in (batch for number in range(4) for batch in steps[number]):
            parts = batch.ids[0].split([len(mask) for mask in batch.visible])[:-1]
            assert {bool(media & set(part.tolist())) for part in parts} == {batch.has_media}
            seen.add(batch.has_media)
        assert seen == {True, False}
