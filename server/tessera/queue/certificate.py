"""Until when certificates are valid (X.509 in PEM files, RFC 5280), without a library for it on every pod."""

from __future__ import annotations

import re
import ssl
from datetime import UTC, datetime
from pathlib import Path

_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
# Tags of DER: of a version, which need not be there, and of a time with two digits for the year.
_VERSION, _SHORT_TIME = 0xA0, 0x17


def ends_of(file: Path) -> list[float]:
    """When each certificate of a file ends to be valid, in its order (Unix time).

    Raises:
        OSError: it cannot be read.
        ValueError: there is something else in it.
    """
    return [_end_of(ssl.PEM_cert_to_DER_cert(block)) for block in _BLOCK.findall(file.read_text())]


def _end_of(der: bytes) -> float:
    try:
        _, at, _ = _element(der, 0)  # Certificate
        _, at, _ = _element(der, at)  # TBSCertificate
        if der[at] == _VERSION:
            at = _element(der, at)[2]
        for _ in ("serial number", "signature", "issuer"):
            at = _element(der, at)[2]
        _, at, _ = _element(der, at)  # Validity
        at = _element(der, at)[2]  # its beginning
        tag, start, end = _element(der, at)
        text = der[start:end].decode("ascii")
        if tag == _SHORT_TIME:
            text = ("19" if int(text[:2]) >= 50 else "20") + text
        return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except IndexError as error:
        raise ValueError("This is no certificate.") from error


def _element(der: bytes, at: int) -> tuple[int, int, int]:
    """The tag of what begins at a place, and where its content begins and ends."""
    tag, length, start = der[at], der[at + 1], at + 2
    if length & 0x80:
        count = length & 0x7F
        length, start = int.from_bytes(der[start : start + count]), start + count
    return tag, start, start + length
