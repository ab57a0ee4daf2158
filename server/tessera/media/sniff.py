"""What bytes really are, from the first of them: what a client declares is never trusted to choose a decoder."""

from __future__ import annotations

from typing import NamedTuple

from tessera.errors import MediaDecodeFailed, MediaTypeMismatch
from tessera.media.id3 import end_of_tag
from tessera.media.item import Modality

SNIFF_BYTES = 4096
"""How many leading bytes are looked at."""


class Kind(NamedTuple):
    """A file format: its main modality, its media type and FFmpeg's name of its demuxer ("": Pillow reads it)."""

    modality: Modality
    mime: str
    demuxer: str = ""


_IMAGE, _VIDEO, _AUDIO = Modality.IMAGE, Modality.VIDEO, Modality.AUDIO

_GIF = Kind(_IMAGE, "image/gif", "gif")
_HEIC = Kind(_IMAGE, "image/heic")
_AVIF = Kind(_IMAGE, "image/avif")
_MP3 = Kind(_AUDIO, "audio/mpeg", "mp3")
_AAC = Kind(_AUDIO, "audio/aac", "aac")
_FLAC = Kind(_AUDIO, "audio/flac", "flac")
_ICON = Kind(_IMAGE, "image/x-icon")
_QUICKTIME = Kind(_VIDEO, "video/quicktime", "mov")

PDF = Kind(_IMAGE, "application/pdf")
"""A document: no image part holds it, but each of its pages is an image."""

MARKDOWN = Kind(_IMAGE, "text/markdown")
"""A text, whose images are looked for: bytes do not tell it from other texts."""

_MAGIC: tuple[tuple[bytes, Kind], ...] = (
    (b"\x89PNG\r\n\x1a\n", Kind(_IMAGE, "image/png")),
    (b"\xff\xd8\xff", Kind(_IMAGE, "image/jpeg")),
    (b"GIF87a", _GIF),
    (b"GIF89a", _GIF),
    (b"BM", Kind(_IMAGE, "image/bmp")),
    (b"II*\x00", Kind(_IMAGE, "image/tiff")),
    (b"MM\x00*", Kind(_IMAGE, "image/tiff")),
    (b"fLaC", _FLAC),
    (b"FLV\x01", Kind(_VIDEO, "video/x-flv", "flv")),
    (b"0&\xb2u\x8ef\xcf\x11", Kind(_VIDEO, "video/x-ms-asf", "asf")),
    (b"\x00\x00\x01\xba", Kind(_VIDEO, "video/mpeg", "mpeg")),
    (b"\x00\x00\x01\xb3", Kind(_VIDEO, "video/mpeg", "mpegvideo")),
    (b"#!AMR", Kind(_AUDIO, "audio/amr", "amr")),
)
_RIFF = {
    b"WEBP": Kind(_IMAGE, "image/webp"),
    b"WAVE": Kind(_AUDIO, "audio/wav", "wav"),
    b"AVI ": Kind(_VIDEO, "video/x-msvideo", "avi"),
}
_AUDIO_BRANDS = (b"M4A ", b"M4B ", b"M4P ", b"F4A ", b"F4B ")
_HEIF_BRANDS = (b"mif1", b"msf1", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")
_OLD_QUICKTIME_BOXES = (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_TS_PACKET_BYTES = 188
# Readers look so far for what a document begins with.
_PDF_START, _MOST_BEFORE_PDF = b"%PDF-", 1024


def sniff(data: bytes) -> Kind | None:
    """The format of ``data``, or None if it is none of those that the server reads."""
    head = bytes(data[:SNIFF_BYTES])
    if head.startswith(b"ID3"):
        return _behind_tag(data)
    for magic, kind in _MAGIC:
        if head.startswith(magic) and (magic != b"BM" or head[6:10] == b"\x00\x00\x00\x00"):
            return kind
    if head.startswith(b"\0\0\1\0") and head[4:6] > b"\0\0":
        return _ICON
    if head[:4] in (b"RIFF", b"RF64"):
        return _RIFF.get(head[8:12])
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return Kind(_AUDIO, "audio/aiff", "aiff")
    if head[4:8] == b"ftyp":
        return _iso_base_media(head)
    if head[4:8] in _OLD_QUICKTIME_BOXES:
        return _QUICKTIME
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        mime = "video/webm" if b"webm" in head[:64] else "video/x-matroska"
        return Kind(_VIDEO, mime, "matroska")
    if head.startswith(b"OggS"):
        theora = b"\x80theora" in head
        return Kind(_VIDEO if theora else _AUDIO, "video/ogg" if theora else "audio/ogg", "ogg")
    if all(head[start : start + 1] == b"\x47" for start in range(0, 3 * _TS_PACKET_BYTES, _TS_PACKET_BYTES)):
        return Kind(_VIDEO, "video/mp2t", "mpegts")
    if _PDF_START in head[:_MOST_BEFORE_PDF]:
        return PDF
    return _mpeg_audio_frame(head)


def holds(kind: Kind, modality: Modality) -> bool:
    """Whether a file of this format can be a part of that modality.

    Containers named for video may hold only audio (WebM, MP4 and Ogg of voice recorders), and a GIF may move:
    the decoder finds out. An audio part may also be the sound of a video.
    """
    if kind == PDF:
        return False
    if kind.modality is modality:
        return True
    if modality is Modality.AUDIO:
        return kind.modality is Modality.VIDEO
    return modality is Modality.VIDEO and kind is _GIF


def identify(data: bytes, modality: Modality, declared: str | None) -> Kind:
    """The format of ``data``, checked against what it has to be and what it says it is.

    A wrong type within a modality is accepted (a JPEG declared as PNG: many clients and web servers do that);
    across modalities it is a mistake that would otherwise surface as a puzzling answer.

    Args:
        data: encoded media.
        modality: modality of the content part.
        declared: media type given with the data (``image/png``), or None.

    Raises:
        MediaDecodeFailed: empty.
        MediaTypeMismatch: of no known format, or of another modality than required or declared.
    """
    if not data:
        raise MediaDecodeFailed(f"The {modality} is empty: 0 bytes.")
    kind = sniff(data)
    said = f" (declared as {declared})" if declared else ""
    if kind is None:
        raise MediaTypeMismatch(f"The data{said} is in no {modality} format that this server reads.")
    if kind == PDF:
        raise MediaTypeMismatch(f"The {modality} part{said} holds a PDF: send that in a part for files, or documents.")
    if not holds(kind, modality):
        raise MediaTypeMismatch(f"The {modality} part{said} holds {kind.mime}.")
    family = (declared or "").partition("/")[0].lower()
    if family in set(Modality) and not holds(kind, Modality(family)):
        raise MediaTypeMismatch(f"The data declares {declared} and really is {kind.mime}.")
    return kind


def _iso_base_media(head: bytes) -> Kind:
    size = int.from_bytes(head[:4], "big")
    brand = head[8:12]
    compatible = {head[start : start + 4] for start in range(16, min(size, len(head)), 4)}
    if brand in (b"avif", b"avis"):
        return _AVIF
    if brand in _HEIF_BRANDS:
        return _AVIF if b"avif" in compatible else _HEIC
    if brand in _AUDIO_BRANDS:
        return Kind(_AUDIO, "audio/mp4", "mov")
    if brand == b"qt  ":
        return _QUICKTIME
    if brand[:2] == b"3g":
        return Kind(_VIDEO, "video/3gpp", "mov")
    return Kind(_VIDEO, "video/mp4", "mov")


def _behind_tag(data: bytes) -> Kind:
    """What a tag stands in front of; nearly always that is MP3, whose first frame may be anywhere behind it."""
    start = end_of_tag(data, 0)
    if data.startswith(b"fLaC", start):
        return _FLAC
    return _AAC if _mpeg_audio_frame(data[start : start + 4]) is _AAC else _MP3


def _mpeg_audio_frame(head: bytes) -> Kind | None:
    """MP3 or AAC (ADTS) without a tag in front: a frame header whose fields all have legal values."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    if head[1] & 0xF6 == 0xF0:
        return _AAC
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    bitrate, rate = head[2] >> 4, head[2] >> 2 & 3
    return _MP3 if version != 1 and layer != 0 and bitrate not in (0, 15) and rate != 3 else None
