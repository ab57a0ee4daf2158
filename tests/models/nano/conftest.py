from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.nano import voices
from models.nano.curriculum import Maker, Split
from models.nano.voices import VoiceBank


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Two threads for a small multiplication wait for each other most of the time."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def bank(tmp_path_factory: pytest.TempPathFactory) -> VoiceBank:
    """Real voices, synthesised by espeak-ng: of each part a few, as all of them take two cores half a minute."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(voices, "_ACCENTS", ("en-us", "en-gb", voices.HELD_OUT_ACCENT))
        patch.setattr(voices, "_VARIANTS", ("m1", "f1", "klatt", voices.HELD_OUT_VARIANTS[0]))
        patch.setattr(voices, "_TAKES", voices._TAKES[:1])
        return VoiceBank(tmp_path_factory.mktemp("voices"))


@pytest.fixture(scope="session")
def learnt(bank: VoiceBank) -> Maker:
    return Maker(bank, Split.TRAINING)


@pytest.fixture(scope="session")
def held_out(bank: VoiceBank) -> Maker:
    return Maker(bank, Split.HELD_OUT)


@pytest.fixture(scope="session")
def checkpoint() -> Path:
    """The shipped checkpoint."""
    return Path(__file__).parents[3] / "models" / "nano" / "checkpoint"
