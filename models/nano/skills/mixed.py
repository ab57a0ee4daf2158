"""One message with a picture, a clip and a sound, and a question about one of them or all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from models.nano.example import CLIP_FPS, Clip, Example, Medium, Picture, Question, Sound
from models.nano.skills import hearing, motion
from models.nano.skills.asking import choose, pick
from models.nano.skills.objects import about_thing
from models.nano.skills.thing import one_thing
from models.nano.vocabulary import COLOURS, DIRECTIONS, NUMBERS, PITCHES, SHAPES, SIZES, phrase, sentence
from models.nano.voices import VoiceBank

_NOUNS = {Picture: ("picture", "image"), Clip: ("clip", "video"), Sound: ("sound", "recording")}
_MOST_PIXELS_A_SIDE = 224


def mixed(rng: np.random.Generator, bank: VoiceBank, fps: float = CLIP_FPS, *, held_out: bool = False) -> Example:
    """A picture of one thing, a clip of a moving one, and a sound, in any order."""
    size = pick(rng, SIZES)
    limits = {"most": _MOST_PIXELS_A_SIDE} if rng.random() < 0.8 else {}
    thing, picture = one_thing(rng, size, **limits)
    clip = motion.moving(rng, fps)
    sound = hearing.sound(rng, bank, held_out=held_out)
    about_picture = [_in(rng, Picture, q) for q in choose(rng, about_thing(rng, thing, size), 2)]
    about_clip = [_in(rng, Clip, q) for q in choose(rng, clip.questions, 1)]
    about_sound = [_in(rng, Sound, q) for q in choose(rng, sound.questions, 1)]
    everything = _everything(rng, f"{size} {thing.name}", clip.questions[-1], sound.questions[-1])
    media: list[Medium] = [picture, *clip.media, *sound.media]
    order = rng.permutation(3)
    prompt: list[str | Medium] = []
    introduced = rng.random() < 0.3
    for index in order:
        if introduced:
            noun = pick(rng, _NOUNS[type(media[index])])
            prompt.append(pick(rng, (f"Here is a {noun}:", f"a {noun}:", f"A {noun}:")).replace("a image", "an image"))
        prompt.append(media[index])
    return Example("mixed", tuple(prompt), (*about_picture, *about_clip, *about_sound, everything))


def _in(rng: np.random.Generator, kind: type[Medium], question: Question) -> Question:
    """``question``, saying which medium it is about where it does not say so itself."""
    text, nouns = question.text, _NOUNS[kind]
    if any(noun in text for noun in nouns):
        return question
    noun = pick(rng, nouns)
    said = f"{text[:-1]} in the {noun}?" if text.endswith("?") and rng.random() < 0.5 else f"In the {noun}: {text}"
    return replace(question, text=said)


def _everything(rng: np.random.Generator, thing: str, clip: Question, sound: Question) -> Question:
    texts = ("What do you see and hear?", "Describe everything.", "Describe what you see and hear.")
    said = f"{sentence(phrase(thing))} {clip.answer} {sound.answer}"
    among = frozenset({*SIZES, *COLOURS, *SHAPES, *DIRECTIONS, *NUMBERS, *PITCHES})
    wanted = (*thing.split(), *clip.wanted, *(word for word in sound.wanted if word in among))
    return Question(pick(rng, texts), said, wanted, among)
