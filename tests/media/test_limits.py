from __future__ import annotations

import re

import pytest
from structlog.testing import capture_logs

from tessera.errors import InvalidMedia, MediaTooLarge
from tessera.media import DecodeJob, MediaSpec, Modality, decoding
from tessera.media.limits import Deadline, media_errors
from tessera.media.sniff import sniff

SECRET = b"a name of the client's "


@pytest.mark.parametrize(
    ("modality", "data"),
    [
        (Modality.IMAGE, b"GIF89a" + SECRET * 9),
        (Modality.IMAGE, b"RIFF\x40\0\0\0WEBP" + SECRET * 9),
        (Modality.AUDIO, b"fLaC" + SECRET * 9),
        (Modality.AUDIO, b"RIFF\x40\0\0\0WAVEfmt " + SECRET * 9),
        (Modality.VIDEO, b"\0\0\0\x18ftypisom" + SECRET * 9),
    ],
)
def test_what_cannot_be_decoded_is_told_in_our_words_and_logged_without_content(settings, modality, data):
    job = DecodeJob(modality, sniff(data), data, MediaSpec())
    with capture_logs() as logs, pytest.raises(InvalidMedia) as caught:
        decoding.decode(job, settings, Deadline())
    assert caught.value.message.startswith(f"The {modality} cannot be decoded: it is damaged, cut short")
    assert len(caught.value.message) < 150
    (line,) = [line for line in logs if line["event"] == "media_undecodable"]
    assert re.fullmatch(r"[\w.]+:\d+", line["at"])
    told = caught.value.message + str(logs)
    assert not re.search(r"0x|BytesIO|client's", told)


def test_our_own_errors_and_a_lack_of_memory_are_told_as_what_they_are():
    with pytest.raises(MediaTooLarge, match="more memory"), media_errors("image"):
        raise MemoryError
    with pytest.raises(InvalidMedia, match="ours"), media_errors("image"):
        raise InvalidMedia("ours")
