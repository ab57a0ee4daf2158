"""Gives the scheduler's steps the time that an engine would need for them."""

from __future__ import annotations

import asyncio

from tessera.settings import Settings
from tessera.worker.simulated.scheduler import Scheduler, Sequence, Step


class Core:
    """The engine's loop. To be used in the event loop in which it runs."""

    def __init__(self, settings: Settings):
        self._settings = settings
        self._scheduler = Scheduler(settings)
        self._wanted = asyncio.Event()

    def add(self, sequence: Sequence) -> None:
        """Make this sequence; see ``Scheduler.add``."""
        self._scheduler.add(sequence)
        self._wanted.set()

    def drop(self, sequence: Sequence) -> None:
        """See ``Scheduler.drop``."""
        self._scheduler.drop(sequence)

    async def run(self) -> None:
        """Compute, until cancelled."""
        clock = asyncio.get_running_loop().time
        due_s = clock()
        while True:
            if self._scheduler.idle:
                self._wanted.clear()
                await self._wanted.wait()
            step = self._scheduler.step()
            took_s, now_s = self._seconds(step), clock()
            # One step that is late is made up for, so that the pace holds; more would make bursts of what was lost.
            due_s = max(due_s, now_s - took_s) + took_s
            await asyncio.sleep(max(0.0, due_s - now_s))
            for sequence in step.told:
                sequence.deliver()

    def _seconds(self, step: Step) -> float:
        settings = self._settings
        decoded_s = settings.simulated_decode_step_ms / 1e3 + step.batch * settings.simulated_decode_sequence_us / 1e6
        prefilled_s = step.prefilled / settings.simulated_prefill_tokens_per_s
        return decoded_s + prefilled_s + step.encoded / settings.simulated_encode_tokens_per_s
