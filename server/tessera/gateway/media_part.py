"""One media part of a message, and what it points at: a URL, data, or a file that was uploaded before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tessera.errors import InvalidRequest, MissingField, TesseraError
from tessera.gateway.body import Document, Path, written
from tessera.gateway.part import FILES, MEDIA, OF_FILES
from tessera.media import MediaItem, MediaSource, Modality
from tessera.telemetry import media as metrics

# Of a video: a file of them, as text.
SUBTITLES = "subtitles"

_MARKDOWN = (".md", ".markdown", ".mdown", ".mdx")
_MOST_LOOKED_AT = 8192

Refer = Callable[["MediaPart", MediaItem], Any]


def as_part_of_chat(part: MediaPart, item: MediaItem) -> dict[str, Any]:
    """What goes on in place of a part of a chat: a reference to what it became."""
    kind = f"{part.modality}_url"
    kept = {"detail": part.detail} if part.detail is not None and part.modality is Modality.IMAGE else {}
    # vLLM caches by `uuid`; one that a client chose could name somebody else's image.
    return {"type": kind, kind: {"url": item.url, **kept}, "uuid": item.digest}


@dataclass(frozen=True, slots=True)
class MediaPart:
    """A media part, and where it stands.

    Attributes:
        detail: what the client says of how exactly it is to be looked at; it goes on as it is.
        most_tokens: what it says of how many tokens it may be (see ``visual_tokens``).
        refer: makes what goes on in its place.
        subtitles: of a video, as the client sends them (see ``video_parts``).
        item: what it is, where it was prepared already.
        named: where its client knows it, if that is elsewhere.
        nth: of the images in a text.
    """

    at: Path
    modality: Modality
    source: MediaSource
    detail: Any = None
    most_tokens: Any = None
    refer: Refer = as_part_of_chat
    subtitles: Any = None
    item: MediaItem | None = None
    named: str | None = None
    nth: int | None = None

    @property
    def path(self) -> str:
        """As error messages name it, such as ``messages[0].content[2]``."""
        return self.named or written(self.at)

    @property
    def place(self) -> tuple[int, int] | None:
        """The numbers of its message and of the part in it; None: it is in none."""
        match self.at:
            case ("messages", int(message), "content", int(part)):
                return message, part
        return None


@dataclass(frozen=True, slots=True)
class DocumentPart:
    """One that may be several to its model: see ``document_parts``.

    Attributes:
        about: texts that stand in front of it.
        only: it is a document, and no other medium will do.
        markdown: if it is a text, it is Markdown.
    """

    at: Path
    source: MediaSource
    detail: Any = None
    most_tokens: Any = None
    refer: Refer = as_part_of_chat
    subtitles: Any = None
    about: tuple[str, ...] = ()
    only: bool = False
    markdown: bool = False

    @property
    def path(self) -> str:
        """As error messages name it, such as ``messages[0].content[2]``."""
        return written(self.at)


@dataclass(frozen=True, slots=True)
class FilePart:
    """One of which more is to be found out: see ``media_file``.

    Attributes:
        modality: None: whatever the file is.
        file: the id of a file, or what it is.
        about: of a document, texts that stand in front of it.
        document: it has to be one.
        markdown: it is said to be Markdown.
    """

    at: Path
    modality: Modality | None
    file: str | MediaSource
    detail: Any = None
    most_tokens: Any = None
    refer: Refer = as_part_of_chat
    subtitles: Any = None
    about: tuple[str, ...] = ()
    document: bool = False
    markdown: bool = False

    @property
    def path(self) -> str:
        """As error messages name it, such as ``messages[0].content[2]``."""
        return written(self.at)


def read_part(document: Document, at: Path, kind: str, part: dict[str, Any]) -> MediaPart | FilePart:
    """A part of a kind in ``MEDIA`` or ``FILES``.

    Raises:
        InvalidRequest, MissingField, InvalidMedia: it does not say where the medium is, or in a wrong way.
    """
    if kind in FILES:
        return _file_part(document, at, kind, part)
    value = part.get(kind)
    given = value if isinstance(value, dict) else {}
    detail = given.get("detail")
    if given.get("file_id") is not None:
        if given.get("url") is not None or given.get("data") is not None:
            raise InvalidRequest(f"`{kind}` must have `file_id` alone, without `url` or `data`.")
        return FilePart(at, MEDIA[kind], _string(document, kind, given, "file_id"), detail)
    if kind == "input_audio":
        if not isinstance(value, dict) or not isinstance(value.get("data"), str) or not value["data"]:
            raise MissingField("`input_audio` must have `data` (base64) and `format`.")
        if not isinstance(value.get("format"), str | None):
            raise InvalidRequest("`format` of `input_audio` must be a string.")
        return MediaPart(at, MEDIA[kind], MediaSource.from_base64(document.string(value["data"]), value.get("format")))
    return MediaPart(at, MEDIA[kind], _by_url(document, kind, value), detail)


def is_count(value: Any) -> bool:
    """Whether it is an integer above 0, as JSON has them: 64.0 is one."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 1 and not value % 1


@contextmanager
def counted(modality: Modality | None) -> Iterator[None]:
    """Count a refusal of a part, by its code. ``modality``: None where only the bytes would tell."""
    try:
        yield
    except TesseraError as error:
        metrics.errors.labels(modality or "unknown", error.code).inc()
        raise


@contextmanager
def naming(part: MediaPart | DocumentPart | FilePart | Path) -> Iterator[None]:
    """Errors of the media stage do not know which part they are about, by itself or by where it stands."""
    try:
        yield
    except TesseraError as error:
        error.param = written(part) if isinstance(part, tuple) else part.path
        raise


@contextmanager
def of_image(nth: int | None) -> Iterator[None]:
    """Have errors tell which image of a text they are about; None: of no text."""
    try:
        yield
    except InvalidRequest as error:
        if nth is not None:
            error.message = f"Image {nth} of the document: {error.message}"
        raise


def _file_part(document: Document, at: Path, kind: str, part: dict[str, Any]) -> MediaPart | FilePart:
    modality, detail = FILES[kind], part.get("detail")
    holder = part.get("file") if kind == "file" else part
    if not isinstance(holder, dict):
        raise MissingField("`file` must have a `file_id`, or `file_data`.")
    names = OF_FILES[kind] if kind != "file" else ("file_id", "file_data")
    given = [name for name in names if holder.get(name) is not None]
    listed = ", or ".join(f"`{name}`" for name in names)
    if not given:
        raise MissingField(f"A content part of type `{kind}` must have {listed}.")
    if len(given) > 1:
        raise InvalidRequest(f"A content part of type `{kind}` must have one of {listed}, not several.")
    (name,) = given
    if name == "file_id":
        return FilePart(at, modality, _string(document, kind, holder, name), detail)
    value = holder[name]
    if modality is not None:
        detail = value.get("detail", detail) if isinstance(value, dict) else detail
        return MediaPart(at, modality, _by_url(document, name, value), detail)
    text = _string(document, kind, holder, name)
    source = MediaSource.from_url(text) if name == "file_url" else MediaSource.from_file_data(text)
    called = holder.get("filename")
    markdown = is_markdown(document.string(called) if isinstance(called, str) else "", text)
    return FilePart(at, modality, source, detail, markdown=markdown)


def is_markdown(name: str, url: str = "") -> bool:
    """Whether a file's name, or the URL where it is, says that it is Markdown."""
    start, path = url[:_MOST_LOOKED_AT].lower(), url.partition("?")[0] if len(url) <= _MOST_LOOKED_AT else ""
    return start.startswith("data:text/markdown") or any(each.lower().endswith(_MARKDOWN) for each in (name, path))


def _by_url(document: Document, name: str, value: Any) -> MediaSource:
    url = value.get("url") if isinstance(value, dict) else value
    if not isinstance(url, str) or not url:
        raise MissingField(f"`{name}` must have a `url`, or a `file_id`.")
    return MediaSource.from_url(document.string(url))


def _string(document: Document, kind: str, holder: dict[str, Any], name: str) -> str:
    value = holder[name]
    if not isinstance(value, str) or not value:
        raise InvalidRequest(f"`{name}` of a content part of type `{kind}` must be a string.")
    return document.string(value)
