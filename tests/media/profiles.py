"""Colour profiles written by hand: of displays, by their primaries, and of ink, by a table."""

from __future__ import annotations

import struct

import numpy as np

SRGB = (0.640, 0.330, 0.300, 0.600, 0.150, 0.060)
DISPLAY_P3 = (0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
ADOBE_RGB = (0.640, 0.330, 0.210, 0.710, 0.150, 0.060)
_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def display(primaries, gamma=None):
    """Chromaticities and a power, or sRGB's curve: ICC version 2, white D65."""
    x, y = np.array(primaries).reshape(3, 2).T
    columns = np.stack([x / y, np.ones(3), (1 - x - y) / y])
    white = np.array([0.3127 / 0.3290, 1, (1 - 0.3127 - 0.3290) / 0.3290])
    matrix = columns * np.linalg.solve(columns, white)
    cones = np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white))
    colours = np.linalg.solve(_BRADFORD, cones @ _BRADFORD @ matrix)
    if gamma:
        curve = b"curv" + bytes(4) + struct.pack(">IHH", 1, round(gamma * 256), 0)
    else:
        numbers = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
        curve = b"para" + bytes(4) + struct.pack(">HH5i", 3, 0, *(round(65536 * number) for number in numbers))
    tags = {name: _xyz(colours[:, at]) for at, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve))


def ink(colour_of):
    """CMYK, by the Lab colour of each combination of full inks: ``colour_of(c, m, y, k)``, with inks 0 or 1."""
    grid = b""
    for corner in range(16):
        light, a, b = colour_of(*(corner >> bit & 1 for bit in (3, 2, 1, 0)))
        grid += bytes((round(light * 255 / 100), a + 128, b + 128))
    straight = bytes(range(256))
    identity = struct.pack(">9i", *(65536 * (row == column) for row in range(3) for column in range(3)))
    table = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + identity + straight * 4 + grid + straight * 3
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"A2B0": table})


def _xyz(values):
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(65536 * value) for value in values))


def _profile(kind, space, connection, tags):
    text = b"test"
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(text) + 1) + text + bytes(1 + 4 + 4 + 2 + 1 + 67),
        b"wtpt": _xyz(_D50),
        b"cprt": b"text" + bytes(4) + b"none\0",
        **tags,
    }
    start = 128 + 4 + 12 * len(tags)
    directory, body = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        directory += name + struct.pack(">II", start + len(body), len(content))
        body += content
    head = struct.pack(">I4sI4s4s4s", start + len(body), bytes(4), 0x02400000, kind, space, connection)
    head += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + _xyz(_D50)[8:] + bytes(48)
    assert len(head) == 128
    return head + directory + body
