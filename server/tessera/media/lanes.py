"""Threads with a lane of their own for small work, so that it does not wait behind large work."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")


class Lanes:
    """A pool that does everything in order, and beside it one thread that only takes small work.

    Small work queues for both and is done by whichever comes to it first; large work is never overtaken in the pool.

    Args:
        threads: of the pool.
        name: what the threads' names begin with.
    """

    def __init__(self, threads: int, name: str):
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._express = ThreadPoolExecutor(1, thread_name_prefix=f"{name}-small")

    def submit(self, call: Callable[[], _T], *, small: bool) -> Future[_T]:
        """Have ``call`` done in a thread. Cancelling the future drops what has not begun."""
        if not small:
            return self._pool.submit(call)
        future: Future[_T] = Future()
        # Taken out by the first thread, or by the cancellation: what waits in the other queue holds nothing of it.
        calls = [call]
        future.add_done_callback(lambda _: calls.clear())

        def take() -> None:
            try:
                work = calls.pop()
            except IndexError:
                return
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = work()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        for executor in (self._express, self._pool):
            executor.submit(take).add_done_callback(lambda ticket: ticket.cancelled() and future.cancel())
        return future

    def shutdown(self) -> None:
        """Begin nothing more; what is being done ends in the background."""
        for executor in (self._express, self._pool):
            executor.shutdown(wait=False, cancel_futures=True)
