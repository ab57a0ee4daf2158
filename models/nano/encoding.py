"""Examples as tensors: tokens, labels, positions, pixels and mel frames, by the checkpoint's own processor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from jinja2 import Environment
from torch import Tensor

from models.nano import configuration as c
from models.nano import labelling
from models.nano.example import SAMPLE_RATE, Clip, Example, Medium, Picture, Question, Sound
from models.nano.tokenizer import END_OF_TURN, MEDIA_TOKENS
from models.nano.vocabulary import LABELS, NAMES

IGNORED = -100
_TYPES = {Picture: "image", Clip: "video", Sound: "audio"}


@dataclass(frozen=True)
class Encoded:
    """One example. ``length`` tokens in all: a common beginning, then branches that do not see each other.

    Attributes:
        ids: token ids, shape (length,).
        targets: the id that follows where it is an answer's, ``IGNORED`` elsewhere; shape (length,).
        positions: in time, height and width, shape (3, length).
        branch: which branch a token belongs to, 0 for the common beginning; shape (length,).
        patches: (patches, 3 · 2 · 14 · 14), of pictures and clips in the order of their tokens.
        grids: (time, height, width) of each picture and clip, in patches.
        mel: frames of each sound, (128, frames).
        seen, heard: what each token of the pictures and clips, and of the sounds, shows; shape (tokens, labels).
        names: of each place in the text that names a thing in the picture, its last token, as an index; shape (names,).
        named: what is true of that thing, shape (names, labels).
    """

    ids: Tensor
    targets: Tensor
    positions: Tensor
    branch: Tensor
    patches: Tensor
    grids: list[list[int]]
    mel: list[Tensor]
    seen: Tensor
    heard: Tensor
    names: Tensor
    named: Tensor

    @property
    def length(self) -> int:
        """In tokens."""
        return len(self.ids)


class Encoder:
    """Encodes examples as transformers' and vLLM's processors would.

    Args:
        processor: a ``Qwen2_5OmniProcessor``.
    """

    def __init__(self, processor: Any):
        self._processor = processor
        self._tokenizer = processor.tokenizer.backend_tokenizer
        self._template = Environment(trim_blocks=True, lstrip_blocks=True).from_string(processor.chat_template)
        self._ids = {kind: self._tokenizer.token_to_id(MEDIA_TOKENS[f"{kind}_token"]) for kind in _TYPES.values()}
        self._end = self._tokenizer.token_to_id(END_OF_TURN)
        self._answer_opening = self._encode("<|im_start|>assistant\n")
        self._names = {tuple(self._encode(f" {name}")): name for name in NAMES}
        self._name_lengths = {len(tokens) for tokens in self._names}

    def encode(self, example: Example, questions: Sequence[Question], *, one_dialogue: bool = False) -> Encoded:
        """The example with these questions.

        Args:
            one_dialogue: the questions follow each other as turns of one conversation, instead of being asked each
                as if it was the only one.
        """
        media = [self._medium(medium) for medium in example.media]
        dialogues = [list(questions)] if one_dialogue else [[question] for question in questions]
        sequences = [self._tokens(example, dialogue, media) for dialogue in dialogues]
        shared = _common_beginning([ids for ids, _ in sequences]) if len(sequences) > 1 else 0
        ids, targets = sequences[0][0][:shared], sequences[0][1][:shared]
        branch = [0] * shared
        positions = [self._positions(sequences[0][0], [m.grid for m in media])[:, :shared]]
        only = example.media[0] if len(example.media) == 1 else None
        things = labelling.of_things(only) if isinstance(only, Picture) else {}
        named: dict[int, Tensor] = {}
        for number, (tokens, answers) in enumerate(sequences, start=1):
            added = len(ids) - shared  # by the branches before this one
            named |= {at if at < shared else at + added: it for at, it in self._named(tokens, things)}
            ids, targets = ids + tokens[shared:], targets + answers[shared:]
            branch += [number] * (len(tokens) - shared)
            positions.append(self._positions(tokens, [m.grid for m in media])[:, shared:])
        vision = [m for m in media if m.patches is not None]
        sounds = [m for m in media if m.mel is not None]
        return Encoded(
            torch.tensor(ids),
            torch.tensor(targets),
            torch.from_numpy(np.concatenate(positions, axis=1)),
            torch.tensor(branch),
            torch.cat([m.patches for m in vision]) if vision else torch.empty(0, 0),
            [m.grid for m in vision],
            [m.mel for m in sounds],
            torch.cat([m.labels for m in vision]) if vision else torch.empty(0, len(LABELS)),
            torch.cat([m.labels for m in sounds]) if sounds else torch.empty(0, len(LABELS)),
            torch.tensor(list(named), dtype=torch.long),
            torch.stack(list(named.values())) if named else torch.empty(0, len(LABELS)),
        )

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def _named(self, ids: list[int], things: Mapping[str, Tensor]) -> Iterator[tuple[int, Tensor]]:
        """Where, once the picture is seen, one of the things is named, and what is true of it."""
        if not things:
            return
        last_seen = len(ids) - 1 - ids[::-1].index(self._ids["image"])
        for index in range(last_seen + 1, len(ids)):
            for length in self._name_lengths:
                name = self._names.get(tuple(ids[index - length + 1 : index + 1]))
                if name in things:
                    yield index, things[name]

    def _tokens(self, example: Example, dialogue: list[Question], media: list[_Medium]) -> tuple[list[int], list[int]]:
        """Token ids of the whole conversation, and what the model shall learn to say after each."""
        messages: list[dict[str, Any]] = []
        if example.system:
            messages.append({"role": "system", "content": example.system})
        for turn, question in enumerate(dialogue):
            content = example.content(question) if turn == 0 else [question.text]
            messages.append({"role": "user", "content": [_part(part) for part in content]})
            messages.append({"role": "assistant", "content": question.answer})
        text = self._template.render(messages=messages, tools=None, add_generation_prompt=False)
        waiting = iter(media)
        ids: list[int] = []
        for token in self._encode(text):
            ids += [token] * next(waiting).tokens if token in self._ids.values() else [token]
        targets = [IGNORED] * len(ids)
        opening = self._answer_opening
        answering = False
        for index in range(len(ids) - 1):
            if ids[max(0, index - len(opening) + 1) : index + 1] == opening:
                answering = True
            if answering:
                targets[index] = ids[index + 1]
                answering = ids[index + 1] != self._end
        return ids, targets

    def _positions(self, ids: list[int], grids: list[list[int] | None]) -> np.ndarray[Any, Any]:
        """As ``get_rope_index`` of transformers' model, without tensors: it is called for every example."""
        parts: list[np.ndarray[Any, Any]] = []
        start = 0
        waiting = (grid for grid in grids if grid is not None)
        visible = (self._ids["image"], self._ids["video"])
        for seen, tokens in groupby(ids, key=lambda token: token in visible):
            if seen:
                time, height, width = next(waiting)
                spots = np.indices((time, height // c.MERGE, width // c.MERGE)).reshape(3, -1)
                # Of a clip, each pair of frames is one second; a picture has only one.
                spots[0] *= c.TOKENS_PER_SECOND
            else:
                spots = np.tile(np.arange(len(list(tokens))), (3, 1))
            parts.append(spots + start)
            start = int(parts[-1].max()) + 1
        return np.concatenate(parts, axis=1)

    def _medium(self, medium: Medium) -> _Medium:
        if isinstance(medium, Picture):
            found = self._processor.image_processor(images=[medium.pixels], return_tensors="pt")
            grid = found["image_grid_thw"][0].tolist()
            labels = labelling.of_frames([medium.regions], medium.pixels.shape[:2], grid)
            return _Medium(found["pixel_values"].bfloat16(), grid, None, len(labels), labels)
        if isinstance(medium, Clip):
            found = self._processor.video_processor(
                videos=[torch.from_numpy(medium.frames).permute(0, 3, 1, 2)], size=c.PIXELS, return_tensors="pt"
            )
            grid = found["video_grid_thw"][0].tolist()
            labels = labelling.of_frames(medium.regions, medium.frames.shape[1:3], grid)
            return _Medium(found["pixel_values_videos"].bfloat16(), grid, None, len(labels), labels)
        found = self._processor.feature_extractor(
            medium.samples,
            sampling_rate=SAMPLE_RATE,
            padding="max_length",
            return_attention_mask=True,
            return_tensors="pt",
        )
        frames = int(found["attention_mask"].sum())
        tokens = (frames_after_convolution(frames) - 2) // 2 + 1
        labels = labelling.of_sound(medium.spans, tokens)
        return _Medium(None, None, found["input_features"][0, :, :frames], tokens, labels)


def frames_after_convolution(frames: int) -> int:
    """Of ``frames`` mel frames of a sound, as many go through the audio tower's layers; it halves them."""
    return (frames - 1) // 2 + 1


@dataclass(frozen=True)
class _Medium:
    patches: Tensor | None
    grid: list[int] | None
    mel: Tensor | None
    tokens: int
    labels: Tensor


def _part(part: str | Medium) -> dict[str, str]:
    return {"type": "text", "text": part} if isinstance(part, str) else {"type": _TYPES[type(part)]}


def _common_beginning(sequences: list[list[int]]) -> int:
    length = 0
    for tokens in zip(*sequences, strict=False):
        if len(set(tokens)) > 1:
            break
        length += 1
    return length
