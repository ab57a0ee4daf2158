"""What a pod's workers say in their folder, and what they are told there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tessera.worker.presence import Presence


@pytest.fixture
def presence(tmp_path: Path) -> Presence:
    return Presence(tmp_path / "workers")


def test_a_worker_is_there_while_it_serves(presence: Presence):
    assert not presence.served()
    with presence.serving(), presence.serving():
        assert presence.served()
    assert not presence.served()


def test_a_worker_that_was_killed_is_not_waited_for(presence: Presence, tmp_path: Path):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait(30)
    mark = tmp_path / "workers" / f"serving-{child.pid}-0"
    mark.parent.mkdir()
    mark.touch()
    assert presence.drain(at_most_s=0)
    assert not mark.exists()


def test_draining_ends_when_all_have(presence: Presence):
    with presence.serving():
        assert not presence.drain(at_most_s=0)
        assert presence.draining()
    assert presence.drain(at_most_s=0)
    assert not presence.draining()  # or nobody could serve there again


def test_what_an_earlier_container_was_told_does_not_count(presence: Presence, tmp_path: Path):
    order = tmp_path / "workers" / "drain"
    order.parent.mkdir()
    order.touch()
    assert presence.draining()
    os.utime(order, (1.0, 1.0))
    assert not presence.draining()
