"""What engines have counted for media: of models whose rules nobody here knows, or whose plans they contradicted."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Hashable, Iterable, Mapping

import orjson

from tessera.gateway.media_options import MediaOptions
from tessera.media import MediaItem, Modality
from tessera.queue import ModelCard

MOST = 8192
# Of a video's metadata, what no processor looks at.
_APART = frozenset({"audio_digest", "video_backend"})


class LearntTokens:
    """For one gateway: by what an item is to a processor, its tokens; what was not used for longest is forgotten."""

    def __init__(self, most: int = MOST):
        self._most = most
        self._tokens: OrderedDict[Hashable, int] = OrderedDict()

    def get(self, kind: Hashable) -> int | None:
        """Tokens of such an item; None: nobody has counted one."""
        if (tokens := self._tokens.get(kind)) is not None:
            self._tokens.move_to_end(kind)
        return tokens

    def put(self, kind: Hashable, tokens: int) -> None:
        """An engine or processor has counted so many for one."""
        self._tokens[kind] = tokens
        self._tokens.move_to_end(kind)
        if len(self._tokens) > self._most:
            self._tokens.popitem(last=False)

    def learn(self, kinds: Mapping[str, Iterable[Hashable]], counted: Mapping[str, int]) -> None:
        """Take what an answer says of its request's media.

        Args:
            kinds: of all items, by modality.
            counted: tokens by modality.
        """
        for modality, of_modality in kinds.items():
            items = Counter(of_modality)
            tokens = counted.get(modality, 0)
            for kind in list(items):
                if len(items) > 1 and (known := self.get(kind)) is not None:
                    tokens -= known * items.pop(kind)
            if len(items) == 1:
                [(kind, times)] = items.items()
                if tokens > 0 and tokens % times == 0:
                    self.put(kind, tokens // times)


def kind_of_item(card: ModelCard, item: MediaItem, options: MediaOptions) -> Hashable | None:
    """All of an item on which its tokens depend; None: that is not known.

    A video's sound stands between its frames, where that is asked for.
    """
    if not options.known:
        return None
    described: bytes | None = None
    sound = None
    if item.modality is Modality.VIDEO:
        metadata = {name: value for name, value in item.metadata.items() if name not in _APART}
        described = orjson.dumps(metadata, option=orjson.OPT_SORT_KEYS)
        sound = item.sound.shape if options.sound_of_videos and item.sound else None
    # Another version of the model's files counts anew.
    version = (card.model, card.root, card.prompts)
    asked = orjson.dumps({**options.passed, **options.told}, option=orjson.OPT_SORT_KEYS)
    return (*version, item.modality, item.shape, described, sound, asked)
