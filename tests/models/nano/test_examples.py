"""What the generator says of its media is checked against the media themselves, by other means than drew them."""

from __future__ import annotations

import colorsys
import re
from dataclasses import replace

import numpy as np
import pytest

from models.nano import voices
from models.nano.curriculum import KINDS, Split
from models.nano.example import SAMPLE_RATE, Clip, Picture, Question, Sound
from models.nano.skills import hearing, motion, objects, pairs, reading, talk
from models.nano.skills.thing import one_thing
from models.nano.vocabulary import (
    COLOURS,
    HELD_OUT_WORDS,
    LABELS,
    NUMBERS,
    ORDINALS,
    SHAPES,
    TRAINING_WORDS,
    phrase,
    sentence,
)

SEEDS = range(60)


def rng(seed):
    return np.random.default_rng(seed)


def name_of(rgb):
    """The colour's name, by its hue."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(rgb / 255))
    if value < 0.2:
        return "black"
    if saturation < 0.2:
        return "white"
    edges = {15: "red", 45: "orange", 75: "yellow", 170: "green", 255: "blue", 320: "purple", 361: "red"}
    return next(name for edge, name in edges.items() if hue * 360 < edge)


def centre_colour(pixels, box):
    x, y = round((box[0] + box[2]) / 2), round((box[1] + box[3]) / 2)
    return np.median(pixels[y - 1 : y + 2, x - 1 : x + 2].reshape(-1, 3), axis=0)


@pytest.mark.parametrize("kind", KINDS)
class TestEveryKind:
    def test_the_seed_decides(self, learnt, kind):
        for seed in range(5):
            one, again = learnt.example(kind, seed), learnt.example(kind, seed)
            assert [q.text for q in one.questions] == [q.text for q in again.questions]
            for medium, other in zip(one.media, again.media, strict=True):
                same = {Picture: "pixels", Clip: "frames", Sound: "samples"}[type(medium)]
                assert np.array_equal(getattr(medium, same), getattr(other, same))

    def test_splits_and_seeds_differ(self, learnt, held_out, kind):
        asked = {
            (q.text, q.answer) for s in range(30) for m in (learnt, held_out) for q in m.example(kind, s).questions
        }
        assert len(asked) > 12

    def test_a_question_accepts_its_answer_and_no_other_example_s(self, learnt, kind):
        answers = {q.answer for seed in SEEDS for q in learnt.example(kind, seed).questions}
        for seed in SEEDS:
            for question in learnt.example(kind, seed).questions:
                assert question.accepts(question.answer)
                assert not question.accepts("")
                right = [answer for answer in answers if question.accepts(answer)]
                assert len(right) <= 0.35 * len(answers) + 2

    def test_media_are_within_the_limits(self, held_out, kind):
        for seed in SEEDS:
            for medium in held_out.example(kind, seed).media:
                if isinstance(medium, Sound):
                    assert 0 < len(medium.samples) < 4 * SAMPLE_RATE
                    assert np.abs(medium.samples).max() <= 1
                    assert all(0 <= s.start < s.end <= len(medium.samples) / SAMPLE_RATE for s in medium.spans)
                    assert {label for span in medium.spans for label in span.labels} <= set(LABELS)
                    continue
                pixels = medium.pixels if isinstance(medium, Picture) else medium.frames[0]
                assert pixels.dtype == np.uint8
                height, width = pixels.shape[:2]
                assert 56 <= min(width, height) <= max(width, height) <= 448
                assert max(width, height) / min(width, height) <= 4.05

    def test_regions_lie_in_the_picture(self, learnt, kind):
        for seed in SEEDS:
            for medium in learnt.example(kind, seed).media:
                if isinstance(medium, Picture):
                    for region in medium.regions:
                        left, top, right, bottom = region.box
                        assert left < right
                        assert top < bottom
                        assert left >= -1
                        assert top >= -1
                        assert right <= medium.pixels.shape[1] + 3
                        assert bottom <= medium.pixels.shape[0] + 3
                        assert set(region.labels) <= set(LABELS)


def test_all_sizes_and_aspects_occur():
    sizes = np.array([one_thing(rng(seed))[1].pixels.shape[:2] for seed in range(400)])
    assert sizes.min() < 70
    assert sizes.max() > 400
    aspects = sizes.max(axis=1) / sizes.min(axis=1)
    assert aspects.min() < 1.05
    assert aspects.max() > 3.5


def test_a_thing_has_the_colour_that_is_said():
    wrong = 0
    for seed in range(200):
        thing, picture = one_thing(rng(seed))
        wrong += name_of(centre_colour(picture.pixels, thing.box)) != thing.colour
    assert wrong <= 2  # a strong JPEG now and then moves the hue of a few pixels over the edge


def test_shapes_are_told_apart_by_the_area_that_they_fill():
    shares = {}
    for seed in range(300):
        things, _, _ = objects.several(rng(seed), 1, 1)
        thing = replace(things[0], box=(10.0, 10.0, 110.0, 110.0), angle=0.0, shade=(255, 0, 0))
        pixels = thing.draw(np.zeros((120, 120, 3), np.uint8))
        shares[thing.shape] = (pixels[..., 0] > 128).sum() / 100**2
    expected = {"circle": 0.785, "square": 0.85, "triangle": 0.44, "star": 0.31, "cross": 0.54}
    assert shares == pytest.approx(expected, abs=0.03)


def test_as_many_things_are_drawn_as_are_counted():
    for seed in range(80):
        example = objects.count(rng(seed))
        [picture] = example.media
        number = NUMBERS.index(example.questions[0].wanted[0] if example.questions[0].wanted else "zero")
        said = example.questions[0].answer.lower()
        assert NUMBERS[len(picture.regions)] in said
        assert number in (0, len(picture.regions))
        boxes = [region.box for region in picture.regions]
        for i, one in enumerate(boxes):
            for other in boxes[i + 1 :]:
                assert one[2] < other[0] or other[2] < one[0] or one[3] < other[1] or other[3] < one[1]


def test_counts_of_a_shape_or_colour_agree_with_the_labels():
    for seed in range(80):
        example = objects.count(rng(seed))
        labels = [label for region in example.media[0].regions for label in region.labels]
        for question in example.questions[1:3]:
            assert question.lesson
            [name] = [word for word in (*COLOURS, *SHAPES) if word in question.text]
            assert NUMBERS[labels.count(name)] in question.answer.lower()


def test_things_are_numbered_from_the_left_and_from_the_top():
    for seed in range(40):
        [picture] = objects.count(rng(seed)).media
        for axis, side in enumerate(("left", "top")):
            placed = sorted(picture.regions, key=lambda region: region.box[axis] + region.box[axis + 2])
            said = [f"{ordinal} from the {side}" for ordinal in ORDINALS]
            assert [region.labels[2 + axis] for region in placed] == said[: len(placed)]


def test_relations_agree_with_the_boxes():
    seen = set()
    for seed in range(200):
        example = objects.position(rng(seed))
        [picture] = example.media
        for question in example.questions:
            asked = re.match(r"Is the (.*) (?:left|above) or (?:right of|below) the (.*)\?", question.text)
            if asked is None:
                continue
            names = [tuple(name.split()) for name in asked.groups()]
            first, second = (next(r.box for r in picture.regions if r.labels[:2] == name) for name in names)
            answer = next(w for w in ("left", "right", "above", "below") if w in question.answer.lower().split())
            seen.add(answer)
            x, y = (first[0] - second[0], first[1] - second[1])
            assert {"left": x < 0, "right": x > 0, "above": y < 0, "below": y > 0}[answer]
    assert seen == {"left", "right", "above", "below"}


_ASKED_OF_ONE = (r"Is the (\w+ \w+) in the \w+ half", r"What colour is the (\w+)\?", r"What is the (\w+) shape\?")


@pytest.mark.parametrize("pattern", _ASKED_OF_ONE)
def test_what_is_asked_of_one_among_several_is_true_of_it_alone(pattern):
    asked = 0
    for seed in range(200):
        example = objects.position(rng(seed))
        [picture] = example.media
        height, width = picture.pixels.shape[:2]
        for question in example.questions:
            found = re.match(pattern, question.text)
            if found is None:
                continue
            name = set(found[1].split())
            [region] = [region for region in picture.regions if name <= set(region.labels)]
            left, top, right, bottom = region.box
            halves = {"left" if left + right < width else "right", "upper" if top + bottom < height else "lower"}
            answer = set(re.findall(r"\w+", question.answer.lower()))
            assert answer & {*COLOURS, *SHAPES, "left", "right", "upper", "lower"} <= {*region.labels, *halves}
            asked += 1
    assert asked > 40


def test_corners_agree_with_the_boxes():
    seen = set()
    for seed in range(200):
        example = objects.position(rng(seed))
        if "corner" not in example.questions[0].answer:
            continue
        [picture] = example.media
        left, top, right, bottom = picture.regions[0].box
        height, width = picture.pixels.shape[:2]
        corner = ("top" if top + bottom < height else "bottom", "left" if left + right < width else "right")
        assert example.questions[0].wanted == corner
        seen.add(corner)
    assert len(seen) == 4


class TestReading:
    def test_held_out_words_are_not_learnt(self):
        assert not set(HELD_OUT_WORDS) & set(TRAINING_WORDS)
        assert len(HELD_OUT_WORDS) > 80
        assert all(1 < len(word) <= 4 and word.isalpha() for word in (*HELD_OUT_WORDS, *TRAINING_WORDS))
        held_out = {word.upper() for word in HELD_OUT_WORDS}
        for seed in range(300):
            said = "".join(r.labels[0] for r in reading.reading(rng(seed)).media[0].regions)
            # A random string of two letters may be a word; a longer one hardly.
            assert len(said) <= 2 or said not in held_out

    @pytest.mark.parametrize("height", [10.0, 28.0, 60.0])
    def test_letters_have_the_height_that_is_asked_for(self, height):
        for seed in range(40):
            example = reading.reading(rng(seed), held_out=True, height=height)
            [picture] = example.media
            _, top, _, bottom = picture.regions[0].box
            assert bottom - top == pytest.approx(height, rel=0.2, abs=2)

    def test_the_text_stands_where_its_regions_are(self):
        for seed in range(60):
            [picture] = reading.reading(rng(seed), height=28.0).media
            height, width = picture.pixels.shape[:2]
            box = np.array([r.box for r in picture.regions])
            left, top, right, bottom = box[:, 0].min(), box[:, 1].min(), box[:, 2].max(), box[:, 3].max()
            inside = picture.pixels[int(top) : int(bottom) + 1, int(left) : int(right) + 1]
            mask = np.ones((height, width), dtype=bool)
            mask[max(0, int(top) - 3) : int(bottom) + 4, max(0, int(left) - 3) : int(right) + 4] = False
            if mask.sum() > 100:
                assert inside.std(axis=(0, 1)).max() > picture.pixels[mask].std(axis=0).max()

    def test_the_answer_is_judged_letter_by_letter(self):
        question = reading.reading(rng(3)).questions[0]
        text = "".join(r.labels[0] for r in reading.reading(rng(3)).media[0].regions)
        assert question.accepts(question.answer)
        assert not question.accepts(question.answer.replace(text, text + "X"))


def test_same_or_different_agrees_with_the_labels():
    seen = set()
    for seed in range(80):
        example = pairs.two_images(rng(seed))
        one, other = (medium.regions[0].labels[:2] for medium in example.media)
        said = "same" in example.questions[0].answer.lower()
        assert said == (one == other)
        seen.add(said)
    assert seen == {True, False}


class TestClips:
    def test_motion_goes_where_it_is_said_to_go(self):
        seen = set()
        for seed in range(60):
            example = motion.moving(rng(seed), fps=8.0)
            [clip] = example.media
            first, last = (clip.regions[i][0].box for i in (0, -1))
            dx, dy = last[0] - first[0], last[1] - first[1]
            direction = ("right" if dx > 0 else "left") if abs(dx) > abs(dy) else ("down" if dy > 0 else "up")
            assert direction in example.questions[0].answer.lower()
            seen.add(direction)
        assert len(seen) == 4

    def test_colours_change_in_the_order_that_is_said(self):
        for seed in range(40):
            example = motion.changing(rng(seed), fps=8.0)
            [clip] = example.media
            colours = [regions[0].labels[0] for regions in clip.regions]
            assert (colours[0], colours[-1]) == example.questions[0].wanted
            # The model sees both.
            assert len({regions[0].labels[0] for regions in clip.sampled().regions}) == 2

    def test_things_appear_in_the_order_that_is_said(self):
        for seed in range(40):
            example = motion.appearing(rng(seed), fps=8.0)
            clip = example.sampled().media[0]
            order = []
            for regions in clip.regions:
                order += [r.labels for r in regions if r.labels not in order]
            assert tuple(label for labels in order for label in labels) == example.questions[0].wanted

    def test_the_model_sees_the_same_at_any_rate(self):
        for seed in range(10):
            fast, slow = motion.video(rng(seed), fps=8.0), motion.video(rng(seed), fps=2.0)
            sampled = fast.sampled().media[0]
            assert np.array_equal(sampled.frames, slow.media[0].frames)
            assert sampled.regions == slow.media[0].regions
            assert fast.questions == slow.questions


class TestSounds:
    def test_as_many_beeps_sound_as_are_said(self):
        for seed in range(60):
            example = hearing.beeps(rng(seed))
            [sound] = example.media
            frames = len(sound.samples) // 400
            loudness = np.sqrt((sound.samples[: frames * 400].reshape(frames, 400) ** 2).mean(axis=1))
            loud = loudness > 0.4 * loudness.max()
            assert (
                NUMBERS[np.count_nonzero(np.diff(loud.astype(int), prepend=0) == 1)]
                in example.questions[0].answer.lower()
            )

    def test_a_tone_has_the_pitch_that_is_said(self):
        for seed in range(60):
            example = hearing.pitch(rng(seed))
            [sound] = example.media
            spectrum = np.abs(np.fft.rfft(sound.samples))
            frequency = float(spectrum.argmax()) * SAMPLE_RATE / len(sound.samples)
            name = next(
                name for name, (least, most) in hearing.FREQUENCIES.items() if least - 3 <= frequency <= most + 3
            )
            assert name in example.questions[0].answer.lower()

    def test_digits_are_spoken_by_other_voices_in_the_evaluation(self, bank):
        for index in (np.array([wanted[:2] for wanted in voices._wanted()]), bank._index):
            parts = [index[index[:, 1] == split] for split in Split]
            assert all(set(part[:, 0]) == set(range(10)) for part in parts)
            assert len(parts[0]) + len(parts[1]) == len(index)
            assert 0.2 < len(parts[1]) / len(index) <= 0.5

    def test_a_digit_is_heard_where_its_span_is(self, bank):
        for seed in range(20):
            [sound] = hearing.digit(rng(seed), bank).media
            [span] = sound.spans
            inside = sound.samples[int(span.start * SAMPLE_RATE) : int(span.end * SAMPLE_RATE)]
            assert np.abs(inside).max() > 0.2
            assert 0.1 < span.end - span.start < 2


class TestTalk:
    def test_what_is_missing_is_named(self, bank):
        for seed in range(100):
            example = talk.unanswerable(rng(seed), bank)
            kinds = {type(medium) for medium in example.media}
            answer = example.questions[0].answer
            missing = {talk.NO_PICTURE: Picture, talk.NO_CLIP: Clip, talk.NO_SOUND: Sound}[answer]
            assert missing not in kinds

    def test_an_echo_is_what_was_said(self):
        for seed in range(50):
            [question] = talk.echo(rng(seed)).questions
            assert question.text.endswith(question.answer)


class TestQuestion:
    def test_words_in_order(self):
        question = Question("?", "From red to blue.", ("red", "blue"), frozenset(COLOURS))
        assert question.accepts("It changes from RED, to blue!")
        assert not question.accepts("From blue to red.")
        assert not question.accepts("From red to blue and green.")
        assert not question.accepts("From red.")

    def test_one_word_is_one_word(self):
        question = Question("?", "Red", exact=True)
        assert question.accepts("red.")
        assert not question.accepts("It is red.")

    def test_a_part_of_a_word_is_not_the_word(self):
        assert not Question("?", "Red", ("red",), frozenset(COLOURS)).accepts("coloured")


def test_english():
    assert phrase("red star") == "a red star"
    assert phrase("orange cross", "blue star") == "an orange cross and a blue star"
    assert phrase("red star", "orange star", "white star") == "a red star, an orange star and a white star"
    assert sentence("it is") == "It is."
