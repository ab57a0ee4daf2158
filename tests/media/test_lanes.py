from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import CancelledError

import pytest

from tessera.media.lanes import Lanes

TIMEOUT_S = 30


class Block:
    """Work that goes on until it is released."""

    def __init__(self):
        self.begun, self.release = threading.Event(), threading.Event()

    def __call__(self):
        self.begun.set()
        assert self.release.wait(TIMEOUT_S)
        return "large"


@pytest.fixture
def lanes():
    lanes = Lanes(1, "test")
    yield lanes
    lanes.shutdown()


@pytest.fixture
def block(lanes):
    block = Block()
    yield block
    block.release.set()


def test_small_work_is_done_while_large_work_fills_the_pool(lanes, block):
    large = [lanes.submit(block, small=False) for _ in range(3)]
    assert [lanes.submit(lambda n=n: n, small=True).result(TIMEOUT_S) for n in range(5)] == list(range(5))
    assert not large[0].done()
    block.release.set()
    assert [future.result(TIMEOUT_S) for future in large] == ["large"] * 3


def test_small_work_uses_the_pool_too(lanes, block):
    slow = lanes.submit(block, small=True)
    assert block.begun.wait(TIMEOUT_S)
    assert lanes.submit(lambda: 1, small=True).result(TIMEOUT_S) == 1
    assert not slow.done()


def test_each_piece_of_small_work_is_done_once(lanes):
    done = []
    futures = [lanes.submit(lambda n=n: done.append(n), small=True) for n in range(500)]
    for future in futures:
        future.result(TIMEOUT_S)
    lanes.submit(lambda: None, small=False).result(TIMEOUT_S)
    assert sorted(done) == list(range(500))


def test_an_error_reaches_whoever_waits(lanes):
    for small in (True, False):
        with pytest.raises(ZeroDivisionError):
            lanes.submit(lambda: 1 / 0, small=small).result(TIMEOUT_S)


def test_cancelled_work_is_not_done_and_holds_no_memory(lanes, block):
    lanes.submit(block, small=False)
    other = Block()
    lanes.submit(other, small=True)
    assert block.begun.wait(TIMEOUT_S)
    assert other.begun.wait(TIMEOUT_S)

    class Data:
        def __call__(self):
            raise AssertionError

    data = Data()
    held = weakref.ref(data)
    future = lanes.submit(data, small=True)
    del data
    assert future.cancel()
    gc.collect()
    assert held() is None
    other.release.set()


def test_what_waits_at_the_end_is_cancelled(lanes, block):
    lanes.submit(block, small=False)
    other = Block()
    running = lanes.submit(other, small=True)
    assert block.begun.wait(TIMEOUT_S)
    assert other.begun.wait(TIMEOUT_S)
    waiting = [lanes.submit(lambda: None, small=small) for small in (True, False)]
    lanes.shutdown()
    for future in waiting:
        with pytest.raises(CancelledError):
            future.result(TIMEOUT_S)
    other.release.set()
    assert running.result(TIMEOUT_S) == "large"
