"""A broker whose calls get lost, or arrive late."""

from __future__ import annotations

from typing import Any

from tessera.errors import QueueUnavailable
from tessera.queue import Broker


class UnreliableBroker(Broker):
    """Loses the next call's answer, or the call itself, when it is told to.

    Attributes:
        called: the last call, to be made again by ``deliver`` where it was lost.
    """

    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        self.lost = ""
        self.called: tuple[Any, ...] = ()

    async def _call(self, script: Any, model: str, *arguments: Any, **options: Any) -> Any:
        self.called = (script, model, *arguments)
        lost, self.lost = self.lost, ""
        answer = None if lost == "call" else await self.deliver(self.called, **options)
        if lost:
            raise QueueUnavailable(f"lost the {lost}")
        return answer

    async def deliver(self, call: tuple[Any, ...], **options: Any) -> Any:
        return await super()._call(*call, **options)
