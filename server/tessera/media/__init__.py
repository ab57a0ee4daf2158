"""Media: what a content part points at becomes a canonical item, stored once under the digest of its content.

The public surface: callers import from here and from nowhere below.
"""

from tessera.media.decoder import Decoded, Decoder, SandboxIncomplete, ThreadDecoder
from tessera.media.decoding import DecodeJob
from tessera.media.documents import OpenedFile
from tessera.media.flights import Flights
from tessera.media.item import (
    URL_SCHEME,
    Header,
    MediaItem,
    MediaSpec,
    Modality,
    digest_of,
    pack,
    unpack,
)
from tessera.media.objects import MediaObjects, MediaStoreUnusable
from tessera.media.redis_store import RedisMediaStore
from tessera.media.reduction import Fit, Reduction
from tessera.media.resize import ImageResize
from tessera.media.sampling import MOST_FRAMES
from tessera.media.sandbox import SandboxDecoder
from tessera.media.sniff import PDF, SNIFF_BYTES, sniff
from tessera.media.source import MediaSource
from tessera.media.stage import MediaStage
from tessera.media.store import MediaStore, MemoryMediaStore
from tessera.media.subtitles import NoSubtitles, Subtitles

__all__ = [
    "MOST_FRAMES",
    "PDF",
    "SNIFF_BYTES",
    "URL_SCHEME",
    "DecodeJob",
    "Decoded",
    "Decoder",
    "Fit",
    "Flights",
    "Header",
    "ImageResize",
    "MediaItem",
    "MediaObjects",
    "MediaSource",
    "MediaSpec",
    "MediaStage",
    "MediaStore",
    "MediaStoreUnusable",
    "MemoryMediaStore",
    "Modality",
    "NoSubtitles",
    "OpenedFile",
    "RedisMediaStore",
    "Reduction",
    "SandboxDecoder",
    "SandboxIncomplete",
    "Subtitles",
    "ThreadDecoder",
    "digest_of",
    "pack",
    "sniff",
    "unpack",
]
