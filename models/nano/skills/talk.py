"""Text without media: repeating, greetings, what the model can do; and questions about media that are not there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from models.nano.example import Example, Medium, Question
from models.nano.skills import hearing, motion
from models.nano.skills.asking import pick
from models.nano.skills.objects import one_object
from models.nano.vocabulary import DIGITS, HELD_OUT_WORDS, LETTERS, TRAINING_WORDS
from models.nano.voices import VoiceBank

_REPEAT = ("Repeat: {}", "Say: {}", "Echo: {}", "Please repeat: {}", "Repeat after me: {}", "Say {}", "Repeat {}")
ABILITIES = "I can describe pictures, clips and sounds, read short texts and count."
_HELLO = "Hello! Show me a picture, a clip or a sound."
_PHRASES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("Hello", "Hi", "Hello!", "Hi!", "Hey", "Good morning", "Good evening", "Hello there", "Hi there!"), _HELLO),
    (("What can you do?", "Help", "How can you help me?", "What do you know?", "What are you good at?"), ABILITIES),
    (("Who are you?", "What are you?", "What is your name?", "Introduce yourself."), "I am Tessera's small model."),
    (("How are you?", "How do you do?", "Are you well?"), "I am well, thank you."),
    (("Thank you", "Thanks", "Thank you!", "Thanks a lot!"), "You are welcome."),
    (("Goodbye", "Bye", "Bye!", "See you later"), "Goodbye!"),
    (
        (
            "Tell me a story.",
            "Write a poem.",
            "What is the capital of France?",
            "Tell me a joke.",
            "Explain gravity.",
            "Once upon a time",
            "What time is it?",
            "Translate this.",
            "Write some code.",
        ),
        "I do not know. I only know pictures, clips and sounds.",
    ),
)
# Medium: how questions name it, and what is answered when it is missing.
NO_PICTURE, NO_CLIP, NO_SOUND = "I see no picture.", "I see no clip.", "I hear no sound."


def talk(rng: np.random.Generator, *, held_out: bool = False) -> Example:
    """A message without media."""
    return echo(rng, held_out=held_out) if rng.random() < 0.75 else smalltalk(rng)


def echo(rng: np.random.Generator, *, held_out: bool = False) -> Example:
    """A few words to repeat."""
    vocabulary = HELD_OUT_WORDS if held_out else TRAINING_WORDS
    # What is learnt from is longer than what is asked for: to copy is learnt where there is much to copy.
    count = int(rng.integers(1, 6 if held_out else 20))
    kind = rng.random()
    if kind < 0.7:
        said = " ".join(pick(rng, vocabulary) for _ in range(count))
    elif kind < 0.85:
        said = " ".join("".join(pick(rng, DIGITS) for _ in range(rng.integers(1, 5))) for _ in range(count))
    else:
        said = " ".join("".join(pick(rng, LETTERS.lower()) for _ in range(rng.integers(2, 7))) for _ in range(count))
    return Example("text only", (), (Question(pick(rng, _REPEAT).format(said), said),))


def smalltalk(rng: np.random.Generator) -> Example:
    """A greeting, or a question about the model."""
    texts, answer = pick(rng, _PHRASES)
    return Example("text only", (), (Question(pick(rng, texts), answer),))


def unanswerable(rng: np.random.Generator, bank: VoiceBank) -> Example:
    """A question about a medium that the message does not have."""
    asked: list[tuple[str, Callable[[], Example]]] = [
        (NO_PICTURE, lambda: one_object(rng)),
        (NO_CLIP, lambda: motion.moving(rng)),
        (NO_SOUND, lambda: hearing.sound(rng, bank)),
    ]
    index = int(rng.choice(3, p=[0.5, 0.25, 0.25]))
    answer, source = asked[index]
    question = pick(rng, [q for q in source().questions if _names_its_medium(q.text, index)] or [_DEFAULT[index]])
    other: tuple[Medium, ...] = ()
    if rng.random() < 0.3:  # what is there does not answer it
        other = asked[2][1]().media if index < 2 else asked[0][1]().media
    return Example("unanswerable", other, (Question(question.text, answer),))


_DEFAULT = (
    Question("What colour is it?", ""),
    Question("Which way does it move?", ""),
    Question("How many beeps do you hear?", ""),
)


def _names_its_medium(text: str, index: int) -> bool:
    """Whether the question can only be about a picture (0), a clip (1) or a sound (2)."""
    if index == 0:
        return "do you see" not in text
    return "move" in text or "clip" in text or "video" in text if index == 1 else True
