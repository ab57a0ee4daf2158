"""PDF documents, written by hand: whole ones, and such as no program would make."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

BOX = (0, 0, 200, 100)


def pdf(
    pages: Sequence[bytes],
    *,
    box: tuple[float, float, float, float] = BOX,
    font: bytes = b"/Helvetica",
    more: Iterable[bytes] = (),
    catalog: bytes = b"",
    page: bytes = b"",
    stream: bytes = b"",
    trailer: bytes = b"",
) -> bytes:
    """A document of pages that paint these contents.

    Args:
        box: left, bottom, right and top of each page in points.
        font: its name; pages call it `/F`.
        more: further objects, of which the first is number 4.
        catalog, page, stream, trailer: what these dictionaries have besides.
    """
    others = list(more)
    first = 4 + len(others)
    kids = b" ".join(b"%d 0 R" % (first + 2 * i) for i in range(len(pages)))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R%b>>" % catalog,
        b"<</Type/Pages/Kids[%b]/Count %d>>" % (kids, len(pages)),
        b"<</Type/Font/Subtype/Type1/BaseFont%b>>" % font,
        *others,
    ]
    sides = " ".join(f"{side:.15g}" for side in box).encode()
    for i, content in enumerate(pages):
        resources = b"/Resources<</Font<</F 3 0 R>>/XObject<</X 4 0 R>>>>"
        about = b"/MediaBox[%b]%b/Contents %d 0 R%b" % (sides, resources, first + 2 * i + 1, page)
        objects.append(b"<</Type/Page/Parent 2 0 R%b>>" % about)
        objects.append(b"<</Length %d%b>>stream\n%b\nendstream" % (len(content), stream, content))
    return _file(objects, trailer)


def words(text: str, *, size: float = 28, at: tuple[float, float] = (20, 40)) -> bytes:
    """The content of a page that says something, in letters of so many points."""
    return b"BT /F %g Tf %g %g Td (%b) Tj ET" % (size, *at, text.encode())


def square(red: float, green: float, blue: float, *, side: float = 60) -> bytes:
    """The content of a page with a square."""
    return b"%g %g %g rg 20 20 %g %g re f" % (red, green, blue, side, side)


def _file(objects: Sequence[bytes], trailer: bytes) -> bytes:
    data, places = bytearray(b"%PDF-1.7\n"), []
    for number, each in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%b\nendobj\n" % (number, each)
    table = len(data)
    data += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    data += b"".join(b"%010d 00000 n \n" % place for place in places)
    data += b"trailer<</Size %d/Root 1 0 R%b>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, trailer, table)
    return bytes(data)
