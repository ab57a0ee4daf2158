"""Images come as large as the model's processor would make them, and what it would not make smaller is untouched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tessera.media import ImageResize, MediaSpec, MediaStage, MemoryMediaStore, Modality, image, unpack
from tessera.media.limits import Deadline
from tessera.media.sniff import sniff
from tests.media.pictures import encoded, scene
from tests.media.test_stage import data_url

RULE = ImageResize(28, 12544, 200704)
SPEC = MediaSpec(image_resize=RULE)
NANO = Path(__file__).parents[2] / "models" / "nano" / "checkpoint"


# In a process of its own, which also takes long to start: torch_compat hides modules from others' tests.
TRANSFORMERS = """
import json, sys
from pathlib import Path
import numpy as np
from PIL import Image
from tessera.worker import torch_compat
torch_compat.activate()
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor, smart_resize

def sizes(call):
    once = smart_resize(*call)
    try:
        return once, smart_resize(*once, *call[2:])
    except ValueError:
        return once, None

folder = Path(sys.argv[2])
calls = json.loads((folder / "calls.json").read_text())
(folder / "sizes.json").write_text(json.dumps([sizes(call) for call in calls]))
processor = Qwen2VLImageProcessor.from_pretrained(sys.argv[1])
options = {"do_rescale": False, "do_normalize": False, "return_tensors": "np"}
pictures = np.load(folder / "pictures.npz")
np.savez(folder / "shown.npz", **{
    name: processor(images=[Image.fromarray(pictures[name])], **options)["pixel_values"] for name in pictures
})
"""


@pytest.fixture(scope="module")
def pictures():
    noise = np.random.default_rng(5)
    made = {}
    for width, height in [(2000, 1500), (640, 480), (1801, 241), (457, 449)]:
        made[f"scene-{width}"] = scene(width, height)
        made[f"noise-{width}"] = noise.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return made


@pytest.fixture(scope="module")
def calls():
    """Height, width, factor, least and most pixels."""
    sides = [1, 13, 14, 27, 28, 29, 42, 55, 70, 111, 112, 300, 448, 449, 1000, 2801, 4000, 9000]
    rules = [RULE, ImageResize(32, 65536, 16_777_216), ImageResize(28, 3136, 9000)]
    return [
        (height, width, rule.factor, rule.min_pixels, rule.max_pixels)
        for rule, width, height in product(rules, sides, sides)
        if max(width, height) <= 200 * min(width, height)
    ]


@pytest.fixture(scope="module")
def transformers(tmp_path_factory, pictures, calls):
    """The folder with what transformers makes of ``calls``, of ``pictures`` and of the same made smaller here."""
    pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("transformers")
    (folder / "calls.json").write_text(json.dumps(calls))
    small = {f"{name}-small": np.asarray(RULE.apply(Image.fromarray(pixels))) for name, pixels in pictures.items()}
    np.savez(folder / "pictures.npz", **pictures, **small)
    command = [sys.executable, "-c", TRANSFORMERS, str(NANO), str(folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def decode(data, settings, rule=RULE):
    return np.asarray(image.decode(data, sniff(data), settings, Deadline(), rule))


def test_the_model_sees_what_its_processor_would_have_shown_it(transformers, pictures):
    shown = np.load(transformers / "shown.npz")
    for name, pixels in pictures.items():
        assert RULE.shrunk(pixels.shape[1], pixels.shape[0])
        difference = np.abs(shown[name].astype(int) - shown[f"{name}-small"])
        # Pillow and torch round their weights differently, once in each direction.
        assert difference.max() <= 2, name
        assert (difference > 1).mean() < 0.0001, name
        assert (difference > 0).mean() < 0.01, name


def test_sizes_are_those_of_transformers(transformers, calls):
    sizes = json.loads((transformers / "sizes.json").read_text())
    count = 0
    for (height, width, *bounds), (size, settled) in zip(calls, sizes, strict=True):
        smaller = size[0] <= height and size[1] <= width and size != [height, width] and size == settled
        assert ImageResize(*bounds).shrunk(width, height) == ((size[1], size[0]) if smaller else None)
        count += smaller
    assert count > 100


def test_what_the_processor_refuses_is_left_to_it():
    assert RULE.shrunk(28 * 201, 28) is None


@pytest.mark.parametrize("size", [(448, 448), (504, 364), (60, 60), (112, 112), (301, 77), (28 * 201, 28)])
def test_what_the_processor_does_not_make_smaller_is_untouched(settings, size):
    pixels = scene(*size)
    assert np.array_equal(decode(encoded(pixels, "PNG"), settings), pixels)


def test_images_are_turned_upright_before_they_are_made_smaller(settings):
    exif = Image.Exif()
    exif[0x112] = 6
    pixels = scene(900, 500)
    upright = decode(encoded(np.rot90(pixels, -1), "PNG"), settings)
    assert np.array_equal(decode(encoded(pixels, "PNG", exif=exif), settings), upright)


async def test_a_photograph_takes_no_more_room_than_the_model_sees_of_it(settings):
    store = MemoryMediaStore()
    stage = MediaStage(settings, store)
    source = data_url(encoded(scene(1200, 900), "JPEG"), "image/jpeg")
    small = await stage.prepare(Modality.IMAGE, source, SPEC)
    assert small.shape == (364, 504, 3)
    assert unpack(store.payloads[small.digest])[1].shape == small.shape
    assert small.nbytes < 3 * RULE.max_pixels + 1000
    # The same file for a model that says nothing about its sizes, and for one of other sizes, are other items.
    whole = await stage.prepare(Modality.IMAGE, source, MediaSpec())
    assert whole.shape == (900, 1200, 3)
    other = await stage.prepare(Modality.IMAGE, source, MediaSpec(image_resize=ImageResize(32, 1024, 50_000)))
    assert other.shape == (192, 256, 3)
    assert await stage.prepare(Modality.IMAGE, source, SPEC) == small
    await stage.aclose()


def test_a_rule_of_a_newer_worker_leaves_images_as_they_are():
    assert MediaSpec.from_json(SPEC.to_json()) == SPEC
    later = {**SPEC.to_json(), "image_resize": {"rule": "tiles", "tile": 448}}
    assert MediaSpec.from_json(later).image_resize is None
