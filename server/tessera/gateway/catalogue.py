"""The models that can be asked for, kept fresh from what workers announce."""

from __future__ import annotations

import asyncio
import time

from tessera.errors import ModelNotFound, NoWorker, QueueUnavailable
from tessera.queue import REDIS_UNAVAILABLE, Directory, ModelCard, ServedModel, reach
from tessera.settings import Settings
from tessera.telemetry.outage import Outage

REFRESH_EVERY_S = 1.0


class Catalogue:
    """A copy of the directory, at most ``REFRESH_EVERY_S`` old while Redis answers."""

    def __init__(self, directory: Directory, settings: Settings):
        self._directory = directory
        self._settings = settings
        self._models: dict[str, ServedModel] = {}
        self._aliases = settings.models_by_alias()
        self._last_known: dict[str, float] = {}
        # Its jobs wait, run, and are kept, for as long as this.
        self._remembered_s = settings.queue_timeout_s + settings.reply_ttl_s + 2 * settings.lease_s
        self._outage = Outage("redis_unreachable", "redis_reached")
        self.reachable = False

    def served(self) -> list[ServedModel]:
        """Models that are served, or whose workers are expected back.

        Raises:
            QueueUnavailable: Redis does not answer, and has told nothing before.
        """
        found = [m for m in self._models.values() if self._expected(m)]
        if not found:
            self.check_reachable()
        return found

    def aliases(self) -> dict[str, ServedModel]:
        """Other names of the models that ``served`` lists, as the operator has set them."""
        found = {m.card.model: m for m in self._models.values() if self._expected(m)}
        return {alias: found[name] for alias, name in self._aliases.items() if name in found}

    def known(self) -> list[ServedModel]:
        """All models of the directory, also those that nobody expects back."""
        return list(self._models.values())

    def names(self) -> list[str]:
        """Models of the directory, and those that left it while there may still be jobs of theirs."""
        now = time.monotonic()
        self._last_known |= dict.fromkeys(self._models, now)
        self._last_known = {name: at for name, at in self._last_known.items() if now - at < self._remembered_s}
        return list(self._last_known)

    @property
    def ready(self) -> bool:
        """Whether some worker serves some model."""
        return self.reachable and any(m.workers for m in self._models.values())

    def require(self, name: str) -> ServedModel:
        """The model of that name, or of which it is an alias.

        Raises:
            QueueUnavailable: Redis does not answer, so that there is no knowing.
            ModelNotFound: other models are served, not this one.
            NoWorker: its workers have been gone for ``TESSERA_WORKER_GRACE_S``, or there is no worker at all.
        """
        model = self._models.get(self._aliases.get(name, name))
        if model is not None and self._expected(model):
            return model
        self.check_reachable()
        if model is None and (served := [m.card.model for m in self.served()]):
            known = ", ".join(f"`{s}`" for s in (*served, *self.aliases()))
            raise ModelNotFound(f"The model `{name}` does not exist here. Served: {known}.", param="model")
        raise NoWorker(f"No worker serves the model `{name}` at the moment.", param="model", retry_after_s=10)

    async def refresh(self) -> None:
        """Read the directory once."""
        try:
            self._models = {m.card.model: m for m in await self._directory.models()}
        except REDIS_UNAVAILABLE as error:
            self._outage.failed("refresh", error)
            self.reachable = False
        else:
            self._outage.works("refresh")
            self.reachable = True

    async def workers(self) -> list[tuple[str, ModelCard]]:
        """Live workers by id, and what each serves. Raises ``QueueUnavailable``."""
        async with reach(self._settings):
            return await self._directory.workers()

    async def run(self) -> None:
        """Refresh until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(REFRESH_EVERY_S)

    def check_reachable(self) -> None:
        """Raise ``QueueUnavailable`` where the directory could not be read when last tried."""
        if not self.reachable:
            raise QueueUnavailable("The request queue cannot be reached at the moment.", retry_after_s=5)

    def _expected(self, model: ServedModel) -> bool:
        return bool(model.workers) or model.last_seen_s < self._settings.worker_grace_s
