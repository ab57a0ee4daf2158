"""Media parts that are files: found among those of the tenant, and known for what they are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from tessera.errors import FileMissing, FilesNotConfigured, MediaTooLarge, TooManyParts
from tessera.files import File, Files
from tessera.gateway.media_part import DocumentPart, FilePart, MediaPart, counted, is_markdown
from tessera.media import PDF, MediaSource, Modality, sniff
from tessera.queue import ModelCard

# Documents count with their pages, once those are known.
_MOST_FILES = 128


async def find_files(
    parts: Sequence[MediaPart | FilePart], card: ModelCard, files: Files | None, tenant: str, *, prompts: int = 1
) -> list[MediaPart | DocumentPart]:
    """The parts, each with its modality and with what it is made from.

    Args:
        prompts: in the request; each may have what the model takes.

    Raises:
        TooManyParts: more files than the model takes parts.
        FilesNotConfigured, FileMissing: naming the part.
        QueueUnavailable
    """
    wanted = [p for p in parts if isinstance(p, FilePart)]
    if not wanted:
        return [p for p in parts if isinstance(p, MediaPart)]
    # Before they are looked for: a request may name any number.
    most = max(sum(card.limits.values()) * prompts, _MOST_FILES)
    if len(wanted) > most:
        with counted(wanted[most].modality):
            raise TooManyParts(
                f"At most {most} media part(s) may be in one request to `{card.model}`.", param=wanted[most].path
            )
    by_id = [p for p in wanted if isinstance(p.file, str)]
    if by_id and files is None:
        with counted(by_id[0].modality):
            raise FilesNotConfigured(
                "This server keeps no files: its operator has not set TESSERA_FILES_STORE_URL.", param=by_id[0].path
            )
    found = await files.find_all(tenant, {str(p.file) for p in by_id}) if files is not None and by_id else {}
    return [_counted(p, found, files) if isinstance(p, FilePart) else p for p in parts]


def _counted(p: FilePart, found: dict[str, File], files: Files | None) -> MediaPart | DocumentPart:
    with counted(p.modality):
        return _of_file(p, found, files)


def _of_file(p: FilePart, found: dict[str, File], files: Files | None) -> MediaPart | DocumentPart:
    wishes = (p.detail, p.most_tokens, p.refer, p.subtitles)
    if isinstance(p.file, MediaSource):
        # Of what is to be fetched, nothing is known yet.
        kind = None if p.modality or p.document or p.file.remote else sniff(p.file.head())
        if p.modality is None and kind in (None, PDF):
            return DocumentPart(p.at, p.file, *wishes, p.about, p.document, p.markdown)
        return MediaPart(p.at, p.modality or (kind.modality if kind else Modality.IMAGE), p.file, *wishes)
    file = found.get(p.file)
    if file is None or files is None:
        raise FileMissing("There is no file of this `file_id`, or no longer.", param=p.path)
    source = MediaSource.from_store(bytes.fromhex(file.sha256), file.nbytes, partial(_read, files, file))
    if p.modality is None and (p.document or file.mime in ("", PDF.mime)):
        return DocumentPart(p.at, source, *wishes, p.about, p.document, p.markdown or is_markdown(file.filename))
    return MediaPart(p.at, p.modality or Modality(file.modality), source, *wishes)


async def _read(files: Files, file: File, max_bytes: int) -> bytes:
    """All of a file, as long as a medium may be so large."""
    if file.nbytes > max_bytes:
        raise MediaTooLarge(f"The file has {file.nbytes} bytes; at most {max_bytes} are allowed for media.")
    return b"".join([piece async for piece in files.read(file)])
