from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.nano.curriculum import Maker, Split
from models.nano.voices import VoiceBank


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Two threads for a small multiplication wait for each other most of the time."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def bank(tmp_path_factory: pytest.TempPathFactory) -> VoiceBank:
    """The real voices, synthesised by espeak-ng."""
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
