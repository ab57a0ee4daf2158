from __future__ import annotations

import numpy as np
import pytest

from tessera.media import MediaSpec, Modality, digest_of, pack, unpack
from tessera.media.item import describe

IMAGE = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)


@pytest.mark.parametrize(
    ("modality", "array", "metadata"),
    [
        (Modality.IMAGE, IMAGE, {}),
        (Modality.VIDEO, np.stack([IMAGE, IMAGE]), {"fps": 29.97002997002997, "frames_indices": [0, 5]}),
        (Modality.AUDIO, np.linspace(-1, 1, 17, dtype=np.float32), {"sample_rate": 16000}),
    ],
)
def test_unpack_returns_what_was_packed_without_copying(modality, array, metadata):
    payload = pack(array, modality, metadata)
    header, view = unpack(payload)
    assert (header.modality, header.shape, header.metadata) == (modality, array.shape, metadata)
    assert view.dtype == array.dtype
    assert np.array_equal(view, array)
    assert not view.flags.writeable
    assert not view.flags.owndata
    assert np.shares_memory(view, np.frombuffer(payload, np.uint8))


def test_equal_content_has_equal_digests_and_any_change_another():
    def digest(array, modality=Modality.IMAGE, **metadata):
        return describe(pack(array, modality, metadata)).digest

    assert digest(IMAGE, a=1, b=2) == digest(IMAGE[::-1].copy()[::-1], b=2, a=1)
    others = [
        digest(IMAGE.reshape(3, 2, 3)),
        digest(IMAGE, a=1),
        digest(IMAGE[None], Modality.VIDEO),
        digest(IMAGE + 1),
    ]
    assert len({digest(IMAGE), *others}) == 5


@pytest.mark.parametrize(
    ("modality", "array"),
    [
        (Modality.IMAGE, np.zeros((2, 2, 4), np.uint8)),
        (Modality.IMAGE, np.zeros((2, 2, 3), np.float32)),
        (Modality.IMAGE, np.zeros((0, 2, 3), np.uint8)),
        (Modality.VIDEO, np.zeros((2, 2, 3), np.uint8)),
        (Modality.AUDIO, np.zeros((2, 2), np.float32)),
        (Modality.AUDIO, np.zeros(2, np.float64)),
    ],
)
def test_pack_refuses_arrays_that_are_not_of_the_modality(modality, array):
    with pytest.raises(ValueError, match=modality):
        pack(array, modality, {})


def test_unpack_refuses_every_truncation_and_any_trailing_byte():
    payload = pack(IMAGE, Modality.IMAGE, {})
    for cut in range(len(payload)):
        with pytest.raises(ValueError, match=r"media payload|cannot have shape"):
            unpack(payload[:cut])
    with pytest.raises(ValueError, match=r"media payload|cannot have shape"):
        unpack(payload + b"x")


def test_unpack_raises_nothing_but_value_error_on_garbage():
    rng = np.random.default_rng(0)
    good = pack(IMAGE, Modality.IMAGE, {"a": 1})
    for _ in range(2000):
        data = bytearray(good)
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(len(data) - IMAGE.nbytes)] = rng.integers(256)
        try:
            header, array = unpack(bytes(data))
        except ValueError:
            continue
        assert array.shape == header.shape
    for header in (
        b"{}",
        b"[]",
        b"7",
        b'{"modality":"image","shape":[[2],3,3],"metadata":{}}',
        b'{"modality":"audio","shape":[0],"metadata":{}}',
        b'{"modality":"audio","shape":[1],"metadata":[]}',
    ):
        with pytest.raises(ValueError, match=r"media payload|cannot have shape"):
            unpack(good[:8] + len(header).to_bytes(4, "little") + header + b"\0\0\0\0")


def test_url_and_digest_are_inverse():
    item = describe(pack(IMAGE, Modality.IMAGE, {}))
    assert item.url == f"tessera-media:{item.digest}"
    assert digest_of(item.url) == item.digest
    for url in (
        "",
        "tessera-media:",
        item.digest,
        item.url + "0",
        item.url.upper(),
        "http://x/" + item.digest,
        item.url[:-1] + "g",
    ):
        assert digest_of(url) is None


def test_spec_survives_json_and_ignores_what_it_does_not_know():
    spec = MediaSpec(24000, 768, 2.0, "qwen3_vl")
    assert MediaSpec.from_json({**spec.to_json(), "later": 1}) == spec
    assert MediaSpec.from_json({}) == MediaSpec()


@pytest.mark.parametrize(
    "bad",
    [
        {"audio_sample_rate_hz": 0},
        {"video_max_frames": 0},
        {"video_fps": 0.0},
        {"video_fps": float("inf")},
        {"video_sampling": "psychic"},
    ],
)
def test_spec_refuses_values_that_can_never_work(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        MediaSpec(**bad)
