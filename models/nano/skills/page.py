"""Pictures full of text: more than the model is asked to read, since it learns letters the sooner the more it sees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw

from models.nano import canvas
from models.nano.example import Example, Picture, Question, Region
from models.nano.skills.asking import pick
from models.nano.skills.reading import random_text
from models.nano.vocabulary import COLOURS

_HEIGHTS = (13, 60)  # pixels, of the capital letters
_MOST_PIXELS_A_SIDE = 260
_MOST_READ = 24  # characters


def page(rng: np.random.Generator) -> Example:
    """Lines of words and numbers, in one font and colour."""
    while True:
        width, height = canvas.random_size(rng, least=72, most=_MOST_PIXELS_A_SIDE)
        name = pick(rng, canvas.FONTS)
        font = canvas.font_of_height(name, float(np.exp(rng.uniform(*np.log(_HEIGHTS)))))
        lines = list(_lines(rng, font, width, height))
        if lines:
            break
    colour = canvas.random_colour(rng, pick(rng, COLOURS))
    image = Image.fromarray(canvas.background(rng, width, height, [colour]))
    draw = ImageDraw.Draw(image)
    regions: list[Region] = []
    for x, y, text in lines:
        draw.text((x, y), text, fill=colour, font=font, anchor="lt")
        regions += canvas.text_regions(font, text, x, y)
    words = [word for _, _, text in lines for word in text.split()]
    picture = Picture(canvas.lossy(rng, np.array(image)), tuple(regions))
    questions = [
        Question("Read the first word.", f'It says "{words[0]}".'),
        Question("Read the last word.", f'It says "{words[-1]}".'),
    ]
    if sum(len(word) for word in words) <= _MOST_READ:
        questions.append(Question("Read all words.", f'It says "{" ".join(words)}".'))
    return Example("page", (picture,), tuple(replace(question, lesson=True) for question in questions))


def _lines(rng: np.random.Generator, font: canvas.Font, width: int, height: int) -> Iterator[tuple[float, float, str]]:
    """Left and top of each line, in pixels, and its text."""
    line_height = font.getbbox("H", anchor="lt")[3]
    y = float(rng.uniform(2, 2 + line_height))
    while y + line_height + 2 < height:
        left = float(rng.uniform(2, 2 + line_height))
        words = [random_text(rng)]
        while left + font.getlength(" ".join(words)) + 2 <= width:
            words.append(random_text(rng))
        words.pop()  # it did not fit
        if words:
            yield left, y, " ".join(words)
        y += line_height * float(rng.uniform(1.4, 2.2))
