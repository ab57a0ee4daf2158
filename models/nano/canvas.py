"""Drawing: backgrounds, colours, shapes, text, and what file formats do to a picture."""

from __future__ import annotations

import colorsys
import io
import math
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from models.nano.example import Pixels, Region
from models.nano.vocabulary import ORDINALS

Font = ImageFont.FreeTypeFont
Rgb = tuple[int, int, int]
Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels."""

# Hue in degrees, saturation and value in hundredths: least and most.
_HSV = {
    "red": ((-8, 8), (75, 100), (70, 100)),
    "orange": ((24, 39), (85, 100), (90, 100)),
    "yellow": ((50, 60), (75, 100), (90, 100)),
    "green": ((100, 145), (60, 100), (45, 85)),
    "blue": ((208, 240), (70, 100), (60, 100)),
    "purple": ((275, 302), (55, 100), (45, 75)),
    "black": ((0, 360), (0, 20), (0, 10)),
    "white": ((0, 360), (0, 3), (95, 100)),
}
_CONTRAST = 95.0  # least distance of two colours in RGB
_SUPERSAMPLING = 2  # shapes are drawn this much larger, so that their edges are smooth

_REFERENCE_SIZE = 100  # pixels

FONT_FOLDERS = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"))
FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSansMono",
    "LiberationSans-Regular",
    "LiberationSerif-Regular",
)
HELD_OUT_FONTS = ("LiberationSans-Bold", "DejaVuSerif", "LiberationMono-Regular")


def random_size(rng: np.random.Generator, least: int = 56, most: int = 448) -> tuple[int, int]:
    """Width and height in pixels: any in the range, up to 4:1, more small ones than large ones."""
    shortest = least * 1.3
    long_side = shortest * (most / shortest) ** float(rng.random() ** 1.5)
    aspect = min(_log_uniform(rng, 1.0, 4.0) if rng.random() < 0.5 else rng.uniform(1.0, 1.4), long_side / least)
    sides = round(long_side), max(least, round(long_side / aspect))
    return sides if rng.random() < 0.5 else sides[::-1]


def background(rng: np.random.Generator, width: int, height: int, colours: list[Rgb]) -> Pixels:
    """A plain, shaded or noisy background of shape (height, width, 3), against which all ``colours`` stand out."""
    while True:
        base = np.array(_background_colour(rng), dtype=np.float32)
        if all(np.linalg.norm(base - colour) > _CONTRAST for colour in colours):
            break
    canvas = np.broadcast_to(base, (height, width, 3)).copy()
    kind = rng.random()
    if kind < 0.4:  # plain
        return canvas.astype(np.uint8)
    if kind < 0.6:  # shaded
        coarse = rng.normal(0, 12, (3, 3, 1)).astype(np.float32)
        shade = Image.fromarray(coarse[:, :, 0]).resize((width, height), Image.Resampling.BICUBIC)
        canvas += np.asarray(shade)[:, :, None]
    if kind > 0.5:  # noisy
        deviation = rng.uniform(3, 22)
        grain = rng.normal(0, deviation, (height, width, 3 if rng.random() < 0.5 else 1)).astype(np.float32)
        canvas += grain
    return np.clip(canvas, 0, 255).astype(np.uint8)


def random_colour(rng: np.random.Generator, name: str) -> Rgb:
    """A shade of the colour."""
    hue, saturation, value = (rng.uniform(*bounds) for bounds in _HSV[name])
    red, green, blue = colorsys.hsv_to_rgb(hue / 360 % 1, saturation / 100, value / 100)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_shape(pixels: Pixels, shape: str, colour: Rgb, box: Box, angle: float = 0.0) -> Pixels:
    """``pixels`` with the shape in ``box`` (a square), turned by ``angle`` degrees."""
    left, top, right, bottom = box
    x0, y0 = max(0, math.floor(left) - 2), max(0, math.floor(top) - 2)
    x1, y1 = min(pixels.shape[1], math.ceil(right) + 2), min(pixels.shape[0], math.ceil(bottom) + 2)
    if x1 <= x0 or y1 <= y0:
        return pixels
    s = _SUPERSAMPLING
    mask = Image.new("L", ((x1 - x0) * s, (y1 - y0) * s))
    centre = np.array([(left + right) / 2 - x0, (top + bottom) / 2 - y0]) * s
    radius = (right - left) / 2 * s
    draw = ImageDraw.Draw(mask)
    if shape == "circle":
        draw.ellipse((*(centre - radius), *(centre + radius)), fill=255)
    else:
        turn = math.radians(angle)
        rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
        draw.polygon([tuple(p) for p in centre + radius * _outline(shape) @ rotation.T], fill=255)
    alpha = np.asarray(mask.resize((x1 - x0, y1 - y0), Image.Resampling.BOX), dtype=np.float32)[:, :, None] / 255
    region = pixels[y0:y1, x0:x1]
    pixels[y0:y1, x0:x1] = (region * (1 - alpha) + np.array(colour, dtype=np.float32) * alpha + 0.5).astype(np.uint8)
    return pixels


@lru_cache
def _outline(shape: str) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Corners of shape (corners, 2) within -1 … 1, y downwards."""
    if shape == "square":
        points = [(-0.92, -0.92), (0.92, -0.92), (0.92, 0.92), (-0.92, 0.92)]
    elif shape == "triangle":
        points = [(0, -0.95), (0.98, 0.85), (-0.98, 0.85)]
    elif shape == "star":
        points = [
            ((r := 1.0 if i % 2 == 0 else 0.42) * math.sin(math.pi * i / 5), -r * math.cos(math.pi * i / 5))
            for i in range(10)
        ]
    else:  # cross
        arm = 0.32
        quarter = [(-arm, -1), (arm, -1), (arm, -arm)]
        points = []
        for _ in range(4):
            points += quarter
            quarter = [(-y, x) for x, y in quarter]
    return np.array(points, dtype=np.float64)


def place(rng: np.random.Generator, width: int, height: int, sides: list[float], gap: float = 2.0) -> list[Box] | None:
    """Squares of these sides that lie within the picture and do not touch, or None where they find no room."""
    boxes: list[Box] = []
    for side in sides:
        for _ in range(40):
            left, top = rng.uniform(0, width - side), rng.uniform(0, height - side)
            box = (left, top, left + side, top + side)
            if all(_apart(box, other, gap) for other in boxes):
                boxes.append(box)
                break
        else:
            return None
    return boxes


def _apart(one: Box, other: Box, gap: float) -> bool:
    return one[2] + gap < other[0] or other[2] + gap < one[0] or one[3] + gap < other[1] or other[3] + gap < one[1]


def lossy(rng: np.random.Generator, pixels: Pixels) -> Pixels:
    """``pixels`` as they are after one of the usual file formats: mostly unchanged, or with JPEG's or WebP's traces."""
    choice = rng.random()
    if choice < 0.65:
        return pixels
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    if choice < 0.95:
        image.save(buffer, "JPEG", quality=int(rng.integers(55, 96)))
    else:
        image.save(buffer, "WEBP", quality=int(rng.integers(60, 96)), method=0)
    return np.array(Image.open(buffer).convert("RGB"))


@lru_cache(maxsize=2048)
def font(name: str, size: int) -> Font:
    """The font at ``size`` pixels.

    Raises:
        FileNotFoundError: it is not installed.
    """
    return ImageFont.truetype(str(_font_path(name)), size)


@lru_cache
def _font_path(name: str) -> Path:
    for folder in FONT_FOLDERS:
        for path in folder.rglob(f"{name}.ttf"):
            return path
    raise FileNotFoundError(f"The font {name} is missing: apt-get install fonts-dejavu-core fonts-liberation")


def font_of_height(name: str, height: float) -> Font:
    """The font at the size at which its capital letters are ``height`` pixels high."""
    capital = font(name, _REFERENCE_SIZE).getbbox("H")
    return font(name, round(_REFERENCE_SIZE * height / (capital[3] - capital[1])))


def text_regions(font: Font, text: str, left: float, top: float) -> list[Region]:
    """Where the characters of a line stand that is drawn with its ink's top left corner there; spaces are left out.

    Args:
        text: words of up to four characters.
    """
    height = font.getbbox(text, anchor="lt")[3]
    regions = []
    for index, character in enumerate(text):
        start = left + font.getlength(text[:index])
        if character != " ":
            box = (start, top, start + font.getlength(character), top + height)
            ordinal = ORDINALS[index - text.rfind(" ", 0, index) - 1]
            regions.append(Region(box, (character, f"{ordinal} character {character}")))
    return regions


def missing_fonts() -> list[str]:
    """Names of the fonts that are not installed."""
    missing = []
    for name in (*FONTS, *HELD_OUT_FONTS):
        try:
            _font_path(name)
        except FileNotFoundError:
            missing.append(name)
    return missing


def _background_colour(rng: np.random.Generator) -> Rgb:
    value = rng.choice([rng.uniform(0.9, 1.0), rng.uniform(0.55, 0.9), rng.uniform(0.3, 0.55), rng.uniform(0.0, 0.25)])
    saturation = 0.0 if rng.random() < 0.5 else rng.uniform(0, 0.25)
    red, green, blue = colorsys.hsv_to_rgb(rng.random(), saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def _log_uniform(rng: np.random.Generator, least: float, most: float) -> float:
    return float(np.exp(rng.uniform(np.log(least), np.log(most))))
