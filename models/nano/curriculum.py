"""Which examples training and evaluation see, each one made from nothing but its seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from models.nano.example import CLIP_FPS, Example
from models.nano.recipe import Stage
from models.nano.skills import hearing, mixed, motion, objects, page, pairs, reading, talk
from models.nano.voices import VoiceBank


class Split(IntEnum):
    """Seeds of different splits never meet."""

    TRAINING = 0
    HELD_OUT = 1


_SYSTEM_PROMPTS = ("You are a helpful assistant.", "Answer in short.", "Be brief.", "You are Tessera.")
_FILE_FPS = 8.0  # of the clips of the evaluation, which are sent as files

# Kind: its share of the examples of each stage of the training, in the order of `Stage`.
_SHARES: Mapping[str, tuple[float, float, float]] = {
    "one object": (0.03, 0.07, 0.06),
    "count": (0.12, 0.11, 0.09),
    "position": (0.10, 0.20, 0.15),
    "reading": (0.20, 0.21, 0.27),
    "two images": (0.00, 0.08, 0.08),
    "video": (0.06, 0.06, 0.06),
    "sound": (0.03, 0.09, 0.08),
    "mixed": (0.00, 0.06, 0.05),
    "text only": (0.18, 0.04, 0.03),
    "unanswerable": (0.00, 0.02, 0.02),
    "page": (0.28, 0.06, 0.11),
}
KINDS = tuple(_SHARES)


@dataclass(frozen=True)
class Maker:
    """Makes examples.

    Args:
        bank: the voices.
        split: whether words, fonts and voices may be those that are held out.
    """

    bank: VoiceBank
    split: Split

    def example(self, kind: str, seed: int) -> Example:
        """The example of this kind with this seed."""
        rng = np.random.default_rng((int(self.split), seed, KINDS.index(kind)))
        example = self._makers()[kind](rng)
        # One media prompt can be shared by several questions only if it comes first.
        first = bool(example.media) and rng.random() < 0.15
        system = _SYSTEM_PROMPTS[int(rng.integers(len(_SYSTEM_PROMPTS)))] if rng.random() < 0.1 else ""
        return replace(example, question_first=first, system=system)

    def any_example(self, seed: int, stage: Stage) -> Example:
        """An example of any kind, by their shares in a stage of the training."""
        shares = np.array(list(_SHARES.values()))[:, stage]
        kind = int(np.random.default_rng((int(self.split), seed)).choice(len(shares), p=shares / shares.sum()))
        return self.example(KINDS[kind], seed)

    def _makers(self) -> Mapping[str, Callable[[np.random.Generator], Example]]:
        held_out = self.split is Split.HELD_OUT
        fps = _FILE_FPS if held_out else CLIP_FPS
        return {
            "one object": objects.one_object,
            "count": objects.count,
            "position": objects.position,
            "reading": lambda rng: reading.reading(rng, held_out=held_out),
            "two images": pairs.two_images,
            "video": lambda rng: motion.video(rng, fps),
            "sound": lambda rng: hearing.sound(rng, self.bank, held_out=held_out),
            "mixed": lambda rng: mixed.mixed(rng, self.bank, fps, held_out=held_out),
            "text only": lambda rng: talk.talk(rng, held_out=held_out),
            "unanswerable": lambda rng: talk.unanswerable(rng, self.bank),
            "page": page.page,
        }
