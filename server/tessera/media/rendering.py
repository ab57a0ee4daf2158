"""Wide colours and high dynamic range as sRGB, which is what models have been trained on."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from tessera.media.code_points import BT709, BT2020, DCI_P3, DISPLAY_P3, HLG, PQ, CodePoints
from tessera.media.limits import Deadline

Light = npt.NDArray[np.float32]
"""Linear, 1: white paper in daylight."""

WHITE_NITS = 203.0
"""What white paper has in films of high dynamic range (ITU-R BT.2408), and what becomes white here, cd/m²."""

PEAK_NITS = 1000.0
"""The brightest that is told from white, cd/m²: what such films are mostly made for, and HLG's nominal display."""

# Chromaticities x, y of red, green and blue (H.273, table 2). White is D65 but for DCI's cinema, whose white is taken
# for white.
_PRIMARIES = {
    BT709: (0.640, 0.330, 0.300, 0.600, 0.150, 0.060),
    BT2020: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    DCI_P3: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    DISPLAY_P3: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
_D65 = (0.3127, 0.3290)
# PQ: SMPTE ST 2084.
_M1, _M2, _C1, _C2, _C3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
_PQ_NITS = 10_000.0
# HLG: ITU-R BT.2100, with the system gamma of a display of 1000 cd/m².
_A, _B, _C = 0.17883277, 0.28466892, 0.55991073
_HLG_GAMMA = 1.2

# Steps of the tables that are not of a signal's own levels.
_STEPS = 1 << 14
# Pixels taken at a time, so that what numpy computes with stays in the processor's cache.
_BLOCK_PIXELS = 1 << 15


class Rendering:
    """Makes sRGB of one kind of values.

    Light up to a little below white stays as it is; from there to ``PEAK_NITS`` it is compressed by the curve of
    ITU-R BT.2390 (section 5.4.1) for the brightest of the three colours, which keeps their ratio, and so the hue.
    Colours outside of sRGB become the nearest in each channel.

    Args:
        points: what the values stand for.
    """

    def __init__(self, points: CodePoints):
        primaries = points.primaries if points.primaries in _PRIMARIES else BT2020
        self._transfer = points.transfer
        self._matrix = np.linalg.solve(_to_xyz(BT709), _to_xyz(primaries)).astype(np.float32)
        self._luminance = _to_xyz(primaries)[1].astype(np.float32)

    @classmethod
    def of(cls, points: CodePoints | None) -> Self | None:
        """None for values that are shown as they are: those of ordinary television and of sRGB, or unknown ones."""
        if points is None:
            return None
        wide = points.primaries in _PRIMARIES and points.primaries != BT709
        return cls(points) if wide or points.transfer in (PQ, HLG) else None

    def apply(self, values: npt.NDArray[Any], deadline: Deadline) -> npt.NDArray[np.uint8]:
        """Pixels ``[..., 3]`` of 8 or 16 bits to sRGB of 8.

        Raises:
            MediaDecodeTimeout: the deadline has passed; it is checked for every block of pixels.
        """
        pixels = values.reshape(-1, 3)
        shown = np.empty(pixels.shape, np.uint8)
        for start in range(0, len(pixels), _BLOCK_PIXELS):
            deadline.check()
            block = slice(start, start + _BLOCK_PIXELS)
            light = self._light(pixels[block]) @ self._matrix.T
            np.clip(light, 0, 1, out=light)
            light *= _STEPS
            shown[block] = _srgb_levels()[light.astype(np.uint16)]
        return shown.reshape(values.shape)

    def _light(self, values: npt.NDArray[Any]) -> Light:
        """Of pixels ``[n, 3]``, in the colours that they are given in."""
        levels = 256 if values.dtype == np.uint8 else 65536
        if self._transfer == PQ:
            linear, gains = _pq_tables(levels)
            light: Light = linear[values]
            light *= gains[_brightest(values)][:, None]
        elif self._transfer == HLG:
            light = _hlg_table(levels)[values]
            light *= ((light @ self._luminance) ** np.float32(_HLG_GAMMA - 1))[:, None]
            light *= _hlg_gains()[(np.sqrt(_brightest(light)) * _STEPS).astype(np.uint16)][:, None]
        else:
            light = _srgb_table(levels)[values]
        return light


def _brightest(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    brightest: npt.NDArray[Any] = np.maximum(np.maximum(pixels[:, 0], pixels[:, 1]), pixels[:, 2])
    return brightest


def _curve(nits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """What becomes of light of up to ``PEAK_NITS`` on a display that is as bright as white: cd/m² to cd/m²."""
    peak = _pq_signal(np.array(PEAK_NITS))
    signal = np.minimum(_pq_signal(nits) / peak, 1)
    most = _pq_signal(np.array(WHITE_NITS)) / peak
    knee = 1.5 * most - 0.5
    t = np.maximum(signal - knee, 0) / (1 - knee)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (-2 * t**3 + 3 * t**2) * most
    curved: npt.NDArray[np.float64] = _pq_nits(np.where(signal < knee, signal, spline) * peak)
    return curved


def _pq_nits(signal: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    power = signal ** (1 / _M2)
    nits: npt.NDArray[np.float64] = _PQ_NITS * (np.maximum(power - _C1, 0) / (_C2 - _C3 * power)) ** (1 / _M1)
    return nits


def _pq_signal(nits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    power = (nits / _PQ_NITS) ** _M1
    signal: npt.NDArray[np.float64] = ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2
    return signal


def _gain(nits: npt.NDArray[np.float64]) -> Light:
    """By how much to multiply light so that it fits a display that is as bright as white."""
    bright = np.maximum(nits, 1e-6)
    gain: Light = (_curve(bright) / bright).astype(np.float32)
    return gain


@lru_cache
def _pq_tables(levels: int) -> tuple[Light, Light]:
    """Light by value, and what to multiply a pixel's with by its largest value."""
    nits = _pq_nits(np.linspace(0, 1, levels))
    return (nits / WHITE_NITS).astype(np.float32), _gain(nits)


@lru_cache
def _hlg_table(levels: int) -> Light:
    """Light of the scene by value, 0 to 1."""
    signal = np.linspace(0, 1, levels)
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - _C) / _A) + _B) / 12).astype(np.float32)


@lru_cache
def _hlg_gains() -> Light:
    """From light of HLG's display, 0 to 1, to that of this one, by the root of the brightest colour."""
    share = np.linspace(0, 1, _STEPS + 1) ** 2
    return _gain(share * PEAK_NITS) * np.float32(PEAK_NITS / WHITE_NITS)


@lru_cache
def _srgb_table(levels: int) -> Light:
    """Light by value of what is only wide in colour: encoded by the same curve again, greys stay as they are."""
    signal = np.linspace(0, 1, levels)
    return np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4).astype(np.float32)


@lru_cache
def _srgb_levels() -> npt.NDArray[np.uint8]:
    """The value by light, 0 to ``_STEPS``."""
    light = (np.arange(_STEPS + 1) + 0.5) / _STEPS
    signal = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    levels: npt.NDArray[np.uint8] = np.floor(np.minimum(signal, 1) * 255 + 0.5).astype(np.uint8)
    return levels


@lru_cache
def _to_xyz(primaries: int) -> npt.NDArray[np.float64]:
    """RGB to XYZ, white to D65 of luminance 1 (SMPTE RP 177)."""
    x, y = np.array(_PRIMARIES[primaries]).reshape(3, 2).T
    columns = np.stack([x / y, np.ones(3), (1 - x - y) / y])
    white_x, white_y = _D65
    white = np.array([white_x / white_y, 1, (1 - white_x - white_y) / white_y])
    matrix: npt.NDArray[np.float64] = columns * np.linalg.solve(columns, white)
    return matrix
