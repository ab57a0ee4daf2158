"""Photographs with a gain map, by which phones show them brighter than white: their base image counts."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from tessera.media import image
from tessera.media.limits import Deadline
from tessera.media.sniff import sniff
from tests.media.pictures import encoded, scene

_XMP = (
    b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
    b'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0"/></rdf:RDF></x:xmpmeta>'
)


def ultra_hdr(base, gains):
    """A JPEG as Android writes it: two pictures, the second of which is for the first."""
    file = io.BytesIO()
    pictures = [Image.fromarray(base), Image.fromarray(gains)]
    pictures[0].save(file, "MPO", save_all=True, append_images=pictures[1:], quality=95)
    data = file.getvalue()
    segment = b"\xff\xe1" + (2 + len(_XMP)).to_bytes(2, "big") + _XMP
    return data[:2] + segment + data[2:]


def test_the_base_image_is_what_the_model_sees(settings):
    base = scene()
    data = ultra_hdr(base, 255 - base)
    pixels = np.asarray(image.decode(data, sniff(data), settings, Deadline()))
    alone = encoded(base, "JPEG", quality=95)
    assert np.array_equal(pixels, np.asarray(image.decode(alone, sniff(alone), settings, Deadline())))
