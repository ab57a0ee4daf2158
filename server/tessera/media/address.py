"""A media URL: where it leads, byte for byte what is asked for there, and how much of it may be shown."""

from __future__ import annotations

import re
from urllib.parse import quote

from yarl import URL

from tessera.errors import InvalidMedia

_SHOWN_CHARS = 100
_SHAPE = re.compile(r"(https?)://([^/?#]*)([^#]*)", re.IGNORECASE)
_AUTHORITY = re.compile(r"(?:\[([0-9A-Fa-f.]*:[0-9A-Fa-f:.]*)\]|([^\[\]:%]+))(?::([0-9]{0,5}))?", re.ASCII)
_HIGHEST_PORT = 65535
_NEVER_SENT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_PRINTABLE_ASCII = "".join(map(chr, range(0x21, 0x7F)))
# Scheme, slashes of either kind, user name and password: in every spelling in which somebody could mean them.
_BEFORE_HOST = re.compile(r"((?:[A-Za-z][A-Za-z0-9+.-]*:)?[/\\]*)(?:[^/\\]*@)?")


def parse_address(url: str) -> URL:
    """What to fetch for ``url``.

    The path and the query are asked for as they stand, because they may be signed: no percent sign is added to them or
    taken from them, and no ``..`` is resolved. Only what HTTP cannot carry, spaces and characters outside of ASCII, is
    percent-encoded as UTF-8, as browsers do. The fragment is not sent. A host name outside of ASCII is looked up in its
    IDNA form.

    Raises:
        InvalidMedia: not a complete http or https URL, a user name, a control character, or an invalid host.
    """
    shown = shorten(url)
    if _NEVER_SENT.search(url):
        raise InvalidMedia(f"Media URL {shown!r} has a control character in it, such as a tab or a line break.")
    shape = _SHAPE.match(url)
    if shape is None or not shape[2]:
        raise InvalidMedia(f"Media URL {shown!r} is not a complete http or https URL.")
    scheme, authority, target = shape.groups()
    if "@" in authority:
        raise InvalidMedia("Media URLs with a user name or password are not accepted.")
    parts = _AUTHORITY.fullmatch(authority)
    port = int(parts[3]) if parts and parts[3] else None
    if parts is None or (port or 0) > _HIGHEST_PORT:
        raise InvalidMedia(f"Media URL {shown!r} has no valid host and port.")
    try:
        site = URL.build(scheme=scheme.lower(), host=parts[1] or parts[2], port=port)
    except ValueError as error:
        raise InvalidMedia(f"Media URL {shown!r} has no valid host and port.") from error
    # All of it as the path: yarl drops the question mark of an empty query.
    return site.with_path(quote(target, safe=_PRINTABLE_ASCII), encoded=True)


def shorten(url: str) -> str:
    """A URL for a message or the log: without its query, fragment, user name and password, which may be secrets.

    Of a data URL, only the media type.
    """
    end = "[,;]" if url[:5].lower() == "data:" else "[?#]"
    place = re.split(end, url, maxsplit=1)[0]
    start = _BEFORE_HOST.match(place)
    assert start is not None, "matches the empty string"
    shown = start[1] + place[start.end() :]
    return shown if len(shown) <= _SHOWN_CHARS else shown[: _SHOWN_CHARS - 3] + "..."
