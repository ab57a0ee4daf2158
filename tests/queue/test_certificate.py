from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from tessera.queue.certificate import ends_of

KEYS = {"ec": lambda: ec.generate_private_key(ec.SECP256R1()), "rsa": lambda: rsa.generate_private_key(65537, 2048)}


def certificate(end: datetime.datetime, kind: str = "ec") -> str:
    key = KEYS[kind]()
    # A name that needs a length of several bytes.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "n" * 60)] * 5)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(x509.random_serial_number()).not_valid_after(end)
    made = made.not_valid_before(datetime.datetime(1990, 1, 1, tzinfo=datetime.UTC))
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("year", [1999, 2026, 2049, 2050, 9999])
def test_the_end_is_what_the_library_of_others_says(tmp_path: Path, kind: str, year: int) -> None:
    end = datetime.datetime(year, 12, 31, 23, 59, 58, tzinfo=datetime.UTC)
    (tmp_path / "c").write_text("A comment.\n" + certificate(end, kind))
    assert ends_of(tmp_path / "c") == [end.timestamp()]


def test_a_file_with_several(tmp_path: Path) -> None:
    ends = [datetime.datetime(2030 + n, 1, 1, tzinfo=datetime.UTC) for n in range(3)]
    (tmp_path / "c").write_text("".join(map(certificate, ends)))
    assert ends_of(tmp_path / "c") == [end.timestamp() for end in ends]


@pytest.mark.parametrize("content", ["AAAA", "MAA=", "MIIB", ""])
def test_what_is_no_certificate(tmp_path: Path, content: str) -> None:
    (tmp_path / "c").write_text(f"-----BEGIN CERTIFICATE-----\n{content}\n-----END CERTIFICATE-----\n")
    with pytest.raises(ValueError, match=r"."):
        ends_of(tmp_path / "c")
