"""Pages of PDF documents as RGB pixels, by PDFium, which is built without JavaScript and XFA and fetches nothing.

No fonts but the document's own and those in PDFium: what a page looks like does not depend on the machine.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from types import ModuleType
from typing import Any

from PIL import Image

from tessera.errors import InvalidRequest, MediaDecodeFailed, MediaTooLarge, TesseraError
from tessera.media.limits import Deadline, DecodeCancelled, media_errors
from tessera.media.resize import ImageResize
from tessera.settings import Settings

BYTES_PER_PIXEL = 12
"""Held for one pixel of a page in decode: PDFium's 4, Pillow's 4, and 3 in the file by which it goes out."""

_POINTS_PER_INCH = 72
# Of a page; more than its rasterizer is made for.
_LONGEST_SIDE = 16_384
# Not to be called by two threads at once.
_ALONE = threading.Lock()

Size = tuple[int, int]


def sizes(data: bytes, settings: Settings, deadline: Deadline, resize: ImageResize | None = None) -> list[Size]:
    """Width and height of each page in pixels, as ``render`` makes them.

    Raises:
        MediaDecodeFailed: it cannot be read, or not without a password.
        MediaTooLarge: more than ``media_max_pages``.
    """
    with _ALONE, media_errors("PDF"), _opened(data) as document:
        pages, most = len(document), settings.media_max_pages
        if pages > most:
            raise MediaTooLarge(f"The PDF has {pages} pages; at most {most} are allowed.")
        found = []
        for number in range(pages):
            deadline.check()
            with naming_page(number), media_errors("page"):
                found.append(_size(document.get_page_size(number), settings, resize))
        return found


def render(
    data: bytes, number: int, settings: Settings, deadline: Deadline, resize: ImageResize | None = None
) -> Image.Image:
    """One page on white, with its annotations and what its forms hold.

    Args:
        data: the PDF.
        number: of the page, from 0.
        settings: ``media_page_dpi`` and ``media_max_page_pixels``.
        deadline: checked while the page is painted.
        resize: how the model's processor is going to resize it: it is painted in that size, where that is smaller.

    Returns:
        The picture, in mode RGB.

    Raises:
        MediaDecodeFailed: it cannot be read.
        MediaDecodeTimeout: too slow to paint.
    """
    with _ALONE, media_errors("page"), _opened(data) as document:
        deadline.check()
        page = document[number]
        return _painted(document, page, _size(page.get_size(), settings, resize), deadline)


@contextmanager
def naming_page(number: int) -> Iterator[None]:
    """Name the page that an error is about, where that is the document's; pages are counted from 1."""
    try:
        yield
    except InvalidRequest as error:
        error.message = f"Page {number + 1}: {error.message}"
        raise


def _size(points: tuple[float, float], settings: Settings, resize: ImageResize | None) -> Size:
    if not all(math.isfinite(side) and side > 0 for side in points):
        raise MediaDecodeFailed("It has no size.")
    most = settings.media_max_page_pixels
    scale = min(
        settings.media_page_dpi / _POINTS_PER_INCH,
        math.sqrt(most / math.prod(points)),
        min(_LONGEST_SIDE, most) / max(points),
    )
    width, height = (max(1, math.floor(side * scale)) for side in points)
    shrunk = resize.shrunk(width, height) if resize is not None else None
    return shrunk or (width, height)


@contextmanager
def _opened(data: bytes) -> Iterator[Any]:
    pdfium = _library()
    try:
        document = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        if error.err_code in (pdfium.raw.FPDF_ERR_PASSWORD, pdfium.raw.FPDF_ERR_SECURITY):
            raise MediaDecodeFailed("The PDF is encrypted, and cannot be read without a password.") from error
        raise
    with closing(document):
        # Before any page is there, or what was filled in is not painted.
        document.init_forms()
        yield document


def _painted(document: Any, page: Any, size: Size, deadline: Deadline) -> Image.Image:
    pdfium = _library()
    raw, (width, height) = pdfium.raw, size
    bitmap = pdfium.PdfBitmap.new_native(width, height, raw.FPDFBitmap_BGRx, rev_byteorder=True)
    bitmap.fill_rect((255, 255, 255, 255), 0, 0, width, height)
    how = (0, 0, width, height, 0, raw.FPDF_ANNOT | raw.FPDF_REVERSE_BYTE_ORDER)
    pause = raw.IFSDK_PAUSE(version=1)
    pdfium.internal.set_callback(pause, "NeedToPauseNow", lambda _: _over(deadline))
    try:
        status = raw.FPDF_RenderPageBitmap_Start(bitmap, page, *how, pause)
        while status == raw.FPDF_RENDER_TOBECONTINUED:
            deadline.check()
            status = raw.FPDF_RenderPage_Continue(page, pause)
    finally:
        raw.FPDF_RenderPage_Close(page)
    if status != raw.FPDF_RENDER_DONE:
        raise MediaDecodeFailed("It cannot be painted.")
    if document.formenv:
        raw.FPDF_FFLDraw(document.formenv, bitmap, page, *how)
    picture: Image.Image = bitmap.to_pil().convert("RGB")
    return picture


def _over(deadline: Deadline) -> bool:
    """Whether PDFium is to stop, which asks for it between two objects of a page."""
    try:
        deadline.check()
    except (TesseraError, DecodeCancelled):
        return True
    return False


@cache
def _library() -> ModuleType:
    """PDFium, which a process that decodes nothing does not load."""
    import pypdfium2

    def nothing(*_: Any) -> None:
        """There are no fonts on this machine."""

    names = ("EnumFonts", "MapFont", "GetFont")
    type("OwnFonts", (pypdfium2.PdfSysfontBase,), dict.fromkeys(names, nothing))().setup()
    # What it remarks on in clients' files.
    logging.getLogger("pypdfium2").setLevel(logging.CRITICAL)
    library: ModuleType = pypdfium2
    return library
