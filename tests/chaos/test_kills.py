"""Whatever is killed, the server answers the next request without a human."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.chaos.asking import HEAL_S, ask
from tests.e2e.media import image_part
from tests.polling import eventually_sync
from tests.stack import RunningStack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


def answers(stack: RunningStack, *parts: dict[str, Any]) -> bool:
    try:
        return ask(stack, *parts)[0] == 200
    except OSError:
        return False


def test_gateway_killed(stack: RunningStack) -> None:
    stack.descendant("tessera gateway").kill()
    eventually_sync(lambda: answers(stack), "an answer", within_s=HEAL_S)


def test_redis_killed(stack: RunningStack) -> None:
    stack.descendant("/redis.sock").kill()
    eventually_sync(lambda: answers(stack), "an answer", within_s=HEAL_S)


def test_redis_for_media_killed(stack: RunningStack) -> None:
    assert answers(stack, image_part())
    stack.descendant("/media-redis.sock").kill()
    # The gateway knows the image, and puts it into the store again.
    eventually_sync(lambda: answers(stack, image_part()), "an answer", within_s=HEAL_S)


def test_worker_killed(stack: RunningStack) -> None:
    """The whole of it, with Ray; `test_resumption` kills its engine core, and the replica that has it."""
    worker = stack.descendant("tessera worker")
    cluster = worker.children(recursive=True)
    with ThreadPoolExecutor() as pool:
        worker.kill()
        waiting = [pool.submit(ask, stack) for _ in range(4)]
        assert [future.result()[0] for future in waiting] == [200] * 4
    # Ray and the engine of the dead worker went with it.
    eventually_sync(lambda: not any(p.is_running() for p in cluster), "nothing left of the old worker")
