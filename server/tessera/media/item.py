"""Canonical media: the item that a request refers to, and the container in which its pixels or samples travel."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import orjson

from tessera.media.resize import ImageResize
from tessera.media.sampling import SAMPLERS

URL_SCHEME = "tessera-media:"

_MAGIC = b"TSSRMED1"
_PREFIX = struct.Struct("<8sI")
# The array starts on a cache line, so that a view of it is aligned for any dtype and for SIMD.
_ALIGNMENT = 64
_MAX_HEADER_BYTES = 1 << 20


class Modality(StrEnum):
    """What a media part is to the model."""

    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"


_DTYPES: dict[Modality, np.dtype[Any]] = {
    Modality.IMAGE: np.dtype(np.uint8),
    Modality.VIDEO: np.dtype(np.uint8),
    Modality.AUDIO: np.dtype("<f4"),
}
_DIMENSIONS = {Modality.IMAGE: 3, Modality.VIDEO: 4, Modality.AUDIO: 1}


@dataclass(frozen=True, slots=True)
class MediaSpec:
    """What a model takes; a worker announces it with its model.

    Args:
        audio_sample_rate_hz: rate of the samples that the model's feature extractor expects.
        video_max_frames: most frames sampled from one video.
        video_fps: frames sampled per second of video; None: ``video_max_frames`` spread evenly.
        video_sampling: rule that picks the frames, by the name of vLLM's video loader (see
            ``sampling.SAMPLERS``); None: ``opencv`` without ``video_fps`` and ``qwen2_vl`` with it.
        image_resize: how the model's processor resizes images, if that is known; None: they stay as large as they are.

    Raises:
        ValueError: a value that can never work.
    """

    audio_sample_rate_hz: int = 16000
    video_max_frames: int = 32
    video_fps: float | None = None
    video_sampling: str | None = None
    image_resize: ImageResize | None = None

    def __post_init__(self) -> None:
        if not 1000 <= self.audio_sample_rate_hz <= 384_000:
            raise ValueError(f"audio_sample_rate_hz out of range: {self.audio_sample_rate_hz}")
        if self.video_max_frames < 1:
            raise ValueError(f"video_max_frames must be positive: {self.video_max_frames}")
        if self.video_fps is not None and not 0 < self.video_fps < math.inf:
            raise ValueError(f"video_fps must be positive: {self.video_fps}")
        if self.video_sampling is not None and self.video_sampling not in SAMPLERS:
            raise ValueError(f"unknown video_sampling {self.video_sampling!r}; known: {', '.join(SAMPLERS)}")

    def to_json(self) -> dict[str, Any]:
        """The spec as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The spec from a JSON object; unknown keys are left out, so that a newer worker can announce more."""
        known = {name: value[name] for name in _SPEC_FIELDS & value.keys()}
        return cls(**{**known, "image_resize": ImageResize.from_json(value.get("image_resize"))})


_SPEC_FIELDS = frozenset(field.name for field in fields(MediaSpec))


@dataclass(frozen=True, slots=True)
class MediaItem:
    """One stored item: everything about it but its pixels or samples.

    Args:
        modality: what it is.
        digest: hex SHA-256 of the packed content: shape, metadata and array.
        shape: image ``(height, width, 3)``, video ``(frames, height, width, 3)``, audio ``(samples,)``.
        nbytes: size of the packed content, bytes.
        metadata: video: ``total_num_frames``, ``fps``, ``duration`` (s), ``video_backend``,
            ``frames_indices`` and ``do_sample_frames`` as vLLM's ``VideoMediaIO`` returns them, and
            ``audio_digest`` if the audio track was asked for; audio: ``sample_rate`` (Hz), ``duration`` (s).
        sound: of a video, if that was asked for and is there.
    """

    modality: Modality
    digest: str
    shape: tuple[int, ...]
    nbytes: int
    metadata: dict[str, Any]
    sound: MediaItem | None = None

    @property
    def url(self) -> str:
        """The reference that takes the place of the content in a request body."""
        return URL_SCHEME + self.digest


@dataclass(frozen=True, slots=True)
class Header:
    """What ``unpack`` read in front of the array."""

    modality: Modality
    shape: tuple[int, ...]
    metadata: dict[str, Any]


def digest_of(url: str) -> str | None:
    """The digest in a ``tessera-media:`` URL, or None for any other string."""
    digest = url.removeprefix(URL_SCHEME)
    if digest is url or len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
        return None
    return digest


def lay_out(array: npt.NDArray[Any], modality: Modality, metadata: Mapping[str, Any]) -> tuple[bytes, memoryview]:
    """The bytes of an array with its metadata: a head, and the array itself. Equal content gives equal bytes.

    Args:
        array: uint8 RGB ``[h, w, 3]`` (image), uint8 RGB ``[n, h, w, 3]`` (video), float32 ``[samples]`` (audio).
        modality: which of these it is.
        metadata: JSON object; its keys are sorted.

    Raises:
        ValueError: dtype or shape does not fit the modality, or a number is not finite.
    """
    if array.dtype != _DTYPES[modality]:
        raise ValueError(f"{modality} has dtype {array.dtype}, not {_DTYPES[modality]}")
    check_finite(array)
    return head(array.shape, modality, metadata), np.ascontiguousarray(array).data.cast("B")


def head(shape: tuple[int, ...], modality: Modality, metadata: Mapping[str, Any]) -> bytes:
    """What stands in front of the pixels or samples.

    Raises:
        ValueError: the shape does not fit the modality.
    """
    _check_shape(modality, shape)
    fields_ = {"modality": modality.value, "shape": list(shape), "metadata": dict(metadata)}
    header = orjson.dumps(fields_, option=orjson.OPT_SORT_KEYS)
    padding = b" " * (-(_PREFIX.size + len(header)) % _ALIGNMENT)
    prefix = _PREFIX.pack(_MAGIC, len(header) + len(padding))
    return prefix + header + padding


def pack(array: npt.NDArray[Any], modality: Modality, metadata: Mapping[str, Any]) -> bytes:
    """The same in one piece, which copies the array."""
    return b"".join(lay_out(array, modality, metadata))


def check_finite(array: npt.NDArray[Any]) -> None:
    """The last look at samples before an engine, where one NaN can reach the answers of others.

    Raises:
        ValueError: a number is not finite.
    """
    # Least and largest are NaN where one number is, and need no memory.
    if array.dtype.kind == "f" and not (math.isfinite(array.min()) and math.isfinite(array.max())):
        raise ValueError("there are numbers that are not finite")


def unpack(payload: bytes | memoryview) -> tuple[Header, npt.NDArray[Any]]:
    """Read what ``pack`` wrote. The array is a read-only view of ``payload``: nothing is copied.

    Raises:
        ValueError: the payload is not one that ``pack`` wrote, or is cut short.
    """
    view = memoryview(payload).cast("B")
    if len(view) < _PREFIX.size:
        raise ValueError("media payload is cut short")
    magic, header_bytes = _PREFIX.unpack_from(view)
    start = _PREFIX.size + header_bytes
    if magic != _MAGIC or header_bytes > _MAX_HEADER_BYTES or start > len(view):
        raise ValueError("not a media payload")
    try:
        fields_ = orjson.loads(view[_PREFIX.size : start])
        modality = Modality(fields_["modality"])
        shape = tuple(fields_["shape"])
        metadata = fields_["metadata"]
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise ValueError("media payload has a damaged header") from error
    if not isinstance(metadata, dict):
        raise ValueError("media payload has a damaged header")
    _check_shape(modality, shape)
    dtype = _DTYPES[modality]
    if math.prod(shape) * dtype.itemsize != len(view) - start:
        raise ValueError("media payload has another size than its header says")
    array = np.frombuffer(view[start:], dtype=dtype).reshape(shape)
    array.flags.writeable = False
    return Header(modality, shape, metadata), array


def describe(payload: bytes | memoryview, header: Header | None = None) -> MediaItem:
    """The item that a payload is.

    Args:
        header: where it was read already.

    Raises:
        ValueError: ``pack`` did not write it.
    """
    if header is None:
        header, _ = unpack(payload)
    return MediaItem(header.modality, hashlib.sha256(payload).hexdigest(), header.shape, len(payload), header.metadata)


def _check_shape(modality: Modality, shape: tuple[Any, ...]) -> None:
    positive = all(type(size) is int and size > 0 for size in shape)
    rgb = modality is Modality.AUDIO or (bool(shape) and shape[-1] == 3)
    if len(shape) != _DIMENSIONS[modality] or not positive or not rgb:
        raise ValueError(f"{modality} cannot have shape {shape}")
