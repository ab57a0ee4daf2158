"""The models that can be asked for, kept fresh from what workers announce."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from tessera.errors import ModelNotFound, NoWorker, QueueUnavailable
from tessera.gateway.alias_choice import choose
from tessera.queue import REDIS_UNAVAILABLE, Alias, Aliases, Directory, ModelCard, ServedModel, reach
from tessera.settings import Settings
from tessera.telemetry.outage import Outage

REFRESH_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Target:
    """What a name means.

    Attributes:
        adapter: the LoRA adapter of the model; empty: the model itself.
        root: where its weights come from.
        workers: live workers that have it.
    """

    served: ServedModel
    adapter: str
    root: str
    workers: int

    @property
    def name(self) -> str:
        """What the engine knows it as."""
        return self.adapter or self.served.card.model

    @property
    def card(self) -> ModelCard:
        """Of the model."""
        return self.served.card

    @classmethod
    def model(cls, served: ServedModel) -> Target:
        """A model itself."""
        return cls(served, "", served.card.root, served.workers)

    @classmethod
    def adapters(cls, served: ServedModel) -> dict[str, Target]:
        """Those of a model that some worker has, or had when there was one, by name."""
        roots: dict[str, str] = {}
        workers: Counter[str] = Counter()
        for card in served.cards or (served.card,):
            held = {name: told["root"] for name, told in card.adapters.items() if "root" in told}
            roots |= held
            workers.update(held.keys() if served.cards else ())
        return {name: cls(served, name, root, workers[name]) for name, root in sorted(roots.items())}


class Catalogue:
    """A copy of the directory, and of the aliases, at most ``REFRESH_EVERY_S`` old while Redis answers."""

    def __init__(self, directory: Directory, aliases: Aliases, settings: Settings):
        self._directory = directory
        self._recorded = aliases
        self._settings = settings
        self._models: dict[str, ServedModel] = {}
        self._adapters: dict[str, Target] = {}
        self._own_aliases = {name: Alias(name, {model: 1}) for name, model in settings.models_by_alias().items()}
        self._aliases = self._own_aliases
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

    def adapters(self) -> dict[str, Target]:
        """LoRA adapters of the models that ``served`` lists, by name. Models go before them."""
        return {name: target for name, target in self._adapters.items() if self._expected(target.served)}

    def aliases(self) -> dict[str, Alias]:
        """Other names of models and adapters: as set while the server runs, and else by the settings."""
        return self._aliases

    def alias(self, name: str) -> Alias | None:
        """What a name stands for that is an alias."""
        return self._aliases.get(name)

    def targets_of(self, alias: Alias) -> dict[str, Target]:
        """Those of an alias that requests may go to, by name: they have a weight, and workers or the hope of some."""
        weighty = (name for name, weight in alias.targets.items() if weight)
        return {name: target for name in weighty if (target := self.found(name)) is not None}

    def found(self, name: str) -> Target | None:
        """The model or adapter of that name; None where none is served, nor expected back."""
        model = self._models.get(name)
        if model is not None:
            return Target.model(model) if self._expected(model) else None
        adapter = self._adapters.get(name)
        return adapter if adapter is not None and self._expected(adapter.served) else None

    def is_model(self, name: str) -> bool:
        """Whether it is the name of a model itself."""
        return name in self._models

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

    def target(self, name: str, key: str = "", before: str = "") -> Target:
        """The model or adapter of that name, or one of those that it is an alias of.

        Among those that have a worker the weights decide; where none has, among those whose workers may come back. What
        they name is always a model or an adapter itself.

        Args:
            key: with the same key an alias means the same target, as long as that can be; empty: any.
            before: a target that it means again if it is still one.

        Raises:
            QueueUnavailable: Redis does not answer, so that there is no knowing.
            ModelNotFound: other models are served, not this one.
            NoWorker: its workers have been gone for ``TESSERA_WORKER_GRACE_S``, or there is no worker at all.
        """
        alias = self._aliases.get(name)
        if alias is None:
            if (target := self.found(name)) is None:
                raise self.missing(name, [name])
            return target
        targets = self.targets_of(alias)
        if not targets:
            raise self.missing(name, [each for each, weight in alias.targets.items() if weight])
        if before in targets:
            return targets[before]
        able = [each for each, target in targets.items() if target.workers] or list(targets)
        return targets[able[0] if len(able) == 1 else choose({each: alias.targets[each] for each in able}, key)]

    def missing(self, name: str, meant: Iterable[str]) -> ModelNotFound | NoWorker:
        """Why there is nothing of that name, which stands for others. Raises ``QueueUnavailable``."""
        self.check_reachable()
        known = any(each in self._models or each in self._adapters for each in meant)
        if not known and (served := [m.card.model for m in self.served()]):
            listed = dict.fromkeys((*served, *self.adapters(), *self.standing()))
            told = ", ".join(f"`{each}`" for each in listed)
            return ModelNotFound(f"The model `{name}` does not exist here. Served: {told}.", param="model")
        return NoWorker(f"No worker serves the model `{name}` at the moment.", param="model", retry_after_s=10)

    def standing(self) -> list[str]:
        """Names of aliases by which something can be asked for."""
        return [name for name, alias in self._aliases.items() if self.targets_of(alias)]

    async def refresh(self) -> None:
        """Read the directory once."""
        try:
            models = {m.card.model: m for m in await self._directory.models()}
            aliases = await self._recorded.all()
        except REDIS_UNAVAILABLE as error:
            self._outage.failed("refresh", error)
            self.reachable = False
        else:
            self._models = models
            of_all = [Target.adapters(m) for m in models.values()]
            self._adapters = {n: a for named in of_all for n, a in named.items() if n not in models}
            self._aliases = self._own_aliases | aliases
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
