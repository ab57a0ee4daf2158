"""Answers ``/v1/audio/transcriptions`` and ``/v1/audio/translations``."""

from __future__ import annotations

import math

from tessera.errors import InvalidRequest
from tessera.gateway.endpoints.hearing import FORMAT, SEGMENTED
from tessera.gateway.relay import Relay
from tessera.media import MediaItem
from tessera.queue import Job, JobName, ModelCard


class SpeechRelay(Relay):
    """See ``Relay``."""

    async def _job(self, name: JobName, card: ModelCard) -> Job:
        assert self._document is not None, "it is read once"
        wanted = self._document.value.get(FORMAT)
        if wanted in SEGMENTED and not card.speech.get("segments"):
            raise InvalidRequest(
                f"`{wanted}` needs a model that tells times; `{card.model}` does not. Ask for `json` or `text`.",
                param=FORMAT,
            )
        return await super()._job(name, card)

    def _sequences(self, card: ModelCard, items: list[MediaItem]) -> int:
        """The engine gets a long sound in clips, all at once."""
        clip_s = card.speech.get("clip_s") or math.inf
        seconds = sum(float(item.metadata["duration"]) for item in items)
        return super()._sequences(card, items) * max(1, math.ceil(seconds / clip_s))
