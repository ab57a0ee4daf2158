"""A look at what a process says that it decoded: a hostile upload may have made it say anything."""

from __future__ import annotations

from collections.abc import Sequence

from tessera.media.decoder import Decoded
from tessera.media.decoding import DecodeJob
from tessera.media.item import Modality, check_finite, describe, unpack


def inspect(job: DecodeJob, payloads: Sequence[memoryview]) -> list[Decoded]:
    """The items that the payloads are, by what is in them.

    Args:
        job: what was asked for.
        payloads: what came, which nobody can change any more.

    Raises:
        ValueError: not what was asked for.
    """
    expected = [job.modality, *([Modality.AUDIO] if job.with_audio else [])]
    if not payloads or len(payloads) > len(expected):
        raise ValueError("another number of items than was asked for")
    decoded = [_look(payload, modality) for payload, modality in zip(payloads, expected, strict=False)]
    if job.with_audio:
        # By it a worker finds the sound; no other than this one's own.
        sound = decoded[1].item.digest if len(decoded) > 1 else None
        if decoded[0].item.metadata.get("audio_digest") != sound:
            raise ValueError("a video that names another sound than its own")
    return decoded


def _look(payload: memoryview, modality: Modality) -> Decoded:
    header, array = unpack(payload)
    if header.modality is not modality:
        raise ValueError(f"{header.modality} in place of {modality}")
    check_finite(array)
    return Decoded(describe(payload, header), payload)
