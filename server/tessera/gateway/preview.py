"""Pictures of plans, for people: what the model gets of an image or a video, with its tiles, frames and tokens."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from tessera.media import unpack
from tessera.plan import Grid, ImagePlan, Size, VideoPlan

# Pixels: nothing here grows with what a client sends.
_LONGEST, _THUMBNAIL, _FRAME = 768, 192, 160
_MOST_FRAMES, _FRAMES_IN_ROW = 48, 8
_GAP, _LINE, _LETTERS = 8, 18, 13
_PAPER, _INK, _RULE = (255, 255, 255), (20, 20, 20), (255, 60, 0)
# Narrower than this, a number does not fit.
_LEAST_CELL = 24

Pixels = npt.NDArray[np.uint8]


def draw_image(payload: bytes | memoryview, plan: ImagePlan, tokens: int) -> bytes:
    """A PNG of an image in the shape in which it is cut, with its tiles, and beside it the thumbnail.

    Args:
        payload: the item, packed.
        plan: its plan.
        tokens: what it is in the prompt.
    """
    _, pixels = unpack(payload)
    picture = Image.fromarray(pixels)
    shown = picture.resize(_within(plan.size, _LONGEST), Image.Resampling.BICUBIC)
    _draw_tiles(shown, plan.grid)
    lines = [f"{picture.width}x{picture.height} pixels, to the model {plan.size.width}x{plan.size.height}"]
    if plan.grid.tiles > 1:
        lines.append(f"{plan.grid.columns}x{plan.grid.rows} tiles{' and the whole' if plan.thumbnail else ''}")
    lines.append(f"{tokens} tokens")
    pieces = [(shown, "")]
    if plan.thumbnail:
        whole = picture.resize(_within(Size(*picture.size), _THUMBNAIL), Image.Resampling.BICUBIC)
        pieces.append((whole, "whole"))
    return _png(_sheet(pieces, len(pieces), lines))


def draw_video(payload: bytes | memoryview, plan: VideoPlan, times_s: Sequence[float], tokens: int) -> bytes:
    """A PNG with a video's frames and the times at which they are shown; of many, some.

    Args:
        payload: the item, packed.
        plan: its plan.
        times_s: of all frames of the item.
        tokens: what it is in the prompt.
    """
    _, frames = unpack(payload)
    step = -(-len(frames) // _MOST_FRAMES)
    size = _within(Size(frames.shape[2], frames.shape[1]), _FRAME)
    pieces = []
    for i in range(0, len(frames), step):
        frame = Image.fromarray(frames[i]).resize(size, Image.Resampling.BICUBIC)
        pieces.append((frame, f"{i + 1}: {times_s[i]:.2f} s"))
    lines = [
        f"{len(frames)} frames of {frames.shape[2]}x{frames.shape[1]} pixels",
        f"to the model {plan.frames} of {plan.size.width}x{plan.size.height}",
        f"{tokens} tokens",
    ]
    if step > 1:
        lines.insert(1, f"every {step}. of them is shown")
    return _png(_sheet(pieces, _FRAMES_IN_ROW, lines))


def _draw_tiles(picture: Image.Image, grid: Grid) -> None:
    if grid.tiles < 2:
        return
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(_LETTERS)
    wide, high = picture.width / grid.columns, picture.height / grid.rows
    for row in range(grid.rows):
        for column in range(grid.columns):
            left, top = round(column * wide), round(row * high)
            right, bottom = round((column + 1) * wide) - 1, round((row + 1) * high) - 1
            draw.rectangle((left, top, max(left, right), max(top, bottom)), outline=_RULE, width=2)
            if min(wide, high) >= _LEAST_CELL:
                number = str(row * grid.columns + column + 1)
                box = draw.textbbox((left + 5, top + 4), number, font=font)
                draw.rectangle((box[0] - 3, box[1] - 2, box[2] + 3, box[3] + 2), fill=_RULE)
                draw.text((left + 5, top + 4), number, _PAPER, font=font)


def _sheet(pieces: Sequence[tuple[Image.Image, str]], columns: int, lines: Sequence[str]) -> Image.Image:
    """Pictures in rows, each with what is written under it, and lines above all of them."""
    rows = [pieces[i : i + columns] for i in range(0, len(pieces), columns)]
    heights = [max(picture.height for picture, _ in row) + _LINE + _GAP for row in rows]
    font = ImageFont.load_default(_LETTERS)
    widths = [sum(picture.width + _GAP for picture, _ in row) for row in rows]
    written = max(round(font.getlength(line)) for line in lines)
    sheet = Image.new("RGB", (max(*widths, written + _GAP) + _GAP, len(lines) * _LINE + sum(heights) + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    top = _GAP // 2
    for line in lines:
        draw.text((_GAP, top), line, _INK, font=font)
        top += _LINE
    for row, height in zip(rows, heights, strict=True):
        left = _GAP
        for picture, words in row:
            sheet.paste(picture, (left, top))
            draw.text((left, top + picture.height + 1), words, _INK, font=font)
            left += picture.width + _GAP
        top += height
    return sheet


def _within(size: Size, most: int) -> tuple[int, int]:
    scale = min(1.0, most / max(size))
    return max(1, round(size.width * scale)), max(1, round(size.height * scale))


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=False)
    return buffer.getvalue()
