"""Whatever is killed, the server answers the next request without a human."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest

from tests.e2e.media import image_part, text_part, user
from tests.polling import eventually_sync
from tests.stack import RunningStack, request

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]
HEAL_S = 180


def ask(stack: RunningStack, *parts: dict[str, Any], timeout_s: float = HEAL_S) -> tuple[int, dict[str, object]]:
    body = {"model": stack.model, "messages": user(*parts, text_part("Hello")), "max_tokens": 4}
    status, _, content = request(f"{stack.url}/v1/chat/completions", body, timeout_s=timeout_s)
    return status, json.loads(content)


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


def killed_under_load(stack: RunningStack, process: psutil.Process) -> None:
    """Requests sent while there is no engine wait in the queue and are answered by the next one."""
    with ThreadPoolExecutor() as pool:
        process.kill()
        waiting = [pool.submit(ask, stack) for _ in range(4)]
        assert [future.result()[0] for future in waiting] == [200] * 4


def test_engine_core_killed(stack: RunningStack) -> None:
    core = stack.engine_core()
    killed_under_load(stack, core)
    assert stack.engine_core() != core
    assert stack.ready()


def test_replica_killed(stack: RunningStack) -> None:
    core = stack.engine_core()
    killed_under_load(stack, core.parent())
    eventually_sync(lambda: not core.is_running(), "the engine core of the dead replica gone")


def test_worker_killed(stack: RunningStack) -> None:
    worker = stack.descendant("tessera worker")
    cluster = worker.children(recursive=True)
    killed_under_load(stack, worker)
    # Ray and the engine of the dead worker went with it.
    eventually_sync(lambda: not any(p.is_running() for p in cluster), "nothing left of the old worker")
