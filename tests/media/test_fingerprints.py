from __future__ import annotations

import pytest

from tessera.media import MediaSource, inline
from tessera.media.fingerprints import Fingerprints


@pytest.fixture
def hashed(monkeypatch):
    """Every source that was hashed."""
    sources = []
    fingerprint = MediaSource.fingerprint

    def counting(source):
        sources.append(source)
        return fingerprint(source)

    monkeypatch.setattr(MediaSource, "fingerprint", counting)
    return sources


def source(text, kind="image/png"):
    # Anew each time, as it comes with each request.
    return MediaSource.from_url(f"data:{kind};base64," + "".join(list(text)))


async def test_a_text_is_hashed_once(hashed):
    fingerprints = Fingerprints()
    first, second = [await fingerprints.of(source("A" * 1000)) for _ in range(2)]
    assert first == second
    assert len(hashed) == 1
    assert first == source("A" * 1000).fingerprint()


@pytest.mark.parametrize("other", [source("A" * 50 + "B" + "A" * 949), source("A" * 1000, "image/gif")])
async def test_what_looks_alike_is_not_the_same(hashed, other):
    fingerprints = Fingerprints()
    one = source("A" * 1000)
    assert one.glance() == other.glance()
    for _ in range(2):
        assert await fingerprints.of(one) == one.fingerprint()
        assert await fingerprints.of(other) == other.fingerprint()
    assert one.fingerprint() != other.fingerprint()


async def test_the_longest_unused_are_forgotten_so_that_memory_is_bounded(hashed):
    each = len(source("0" * 1000).text)
    fingerprints = Fingerprints(most_chars=3 * each)
    texts = [str(n) * 1000 for n in range(4)]
    for text in (*texts[:3], texts[0], texts[3]):
        await fingerprints.of(source(text))
    hashed.clear()
    for text in (texts[0], texts[2], texts[3], texts[1]):
        await fingerprints.of(source(text))
    assert hashed == [source(texts[1])]


async def test_large_texts_and_files_are_not_kept(hashed):
    fingerprints = Fingerprints()
    large = "A" * inline.INLINE_BYTES
    file = MediaSource.from_text("what it says")
    for _ in range(2):
        await fingerprints.of(source(large))
        assert await fingerprints.of(file) == file.stored.sha256
    assert hashed.count(source(large)) == 2
