"""How answers are asked for, judged and counted, against a server that says what it is told to say."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from rich.console import Console

from models.nano.evaluation import Examiner, Mistake, Score, as_table
from models.nano.example import Clip, Example, Question
from models.nano.files import messages
from models.nano.rows import Row, reading_curve, table

COLOURS = frozenset({"red", "blue"})


def row(target: float | None = 0.5) -> Row:
    """Asks, by turns, for red and blue."""

    def make(seed: int) -> Example:
        colour = ("red", "blue")[seed % 2]
        return Example("colours", (), (Question(f"{seed}", f"It is {colour}.", (colour,), COLOURS),))

    return Row("colours", target, make)


def wrong(count: int) -> tuple[Mistake, ...]:
    """Any mistakes."""
    return tuple(Mistake(seed, "?", "red", "blue") for seed in range(count))


async def examine(answer: Callable[[str], tuple[int, str, str]], count: int) -> Score:
    """The score of a server that answers each question with a status, a text and a finish reason."""

    async def handle(request: web.Request) -> web.Response:
        body = await request.json()
        assert body["model"] == "m"
        assert body["temperature"] == 0
        status, text, reason = answer(body["messages"][-1]["content"][-1]["text"])
        choice = {"message": {"content": text}, "finish_reason": reason}
        return web.json_response({"choices": [choice], "usage": {"prompt_tokens": 1}}, status=status)

    app = web.Application()
    app.router.add_post("/v1/chat/completions", handle)
    async with TestServer(app) as server:
        told: list[Score] = []
        [score] = await Examiner(str(server.make_url("")).rstrip("/"), "m").examine([row()], count, told.append)
        assert told == [score]
        return score


async def test_right_answers_are_counted():
    score = await examine(lambda text: (200, ["It is red.", "Blue!"][int(text) % 2], "stop"), 50)
    assert (score.right, score.asked, score.mistakes) == (50, 50, ())


async def test_each_question_is_asked_once_and_mistakes_say_what_was_wrong():
    asked = []

    def answer(text):
        asked.append(int(text))
        return 200, "It is red.", "stop"

    score = await examine(answer, 40)
    assert sorted(asked) == list(range(40))
    assert score.right == 20
    assert [mistake.seed for mistake in score.mistakes] == list(range(1, 40, 2))
    first = score.mistakes[0]
    assert (first.question, first.expected, first.answer) == ("1", "It is blue.", "It is red.")


async def test_an_answer_that_does_not_stop_is_wrong():
    score = await examine(lambda text: (200, ["It is red.", "Blue!"][int(text) % 2], "length"), 10)
    assert score.right == 0


async def test_an_error_of_the_server_is_no_wrong_answer():
    with pytest.raises(RuntimeError, match="HTTP 503"):
        await examine(lambda text: (503, "", "stop"), 5)


def test_the_interval_is_wilson_s():
    score = Score(row(), 100, wrong(10))
    low, high = score.interval
    assert (low, high) == (pytest.approx(0.8256, abs=1e-4), pytest.approx(0.9448, abs=1e-4))
    none_wrong = Score(row(), 60, ())
    assert none_wrong.interval == (pytest.approx(0.9398, abs=1e-4), pytest.approx(1.0))


def test_the_table_shows_what_is_missed():
    console = Console(file=io.StringIO(), width=140)
    console.print(as_table([Score(row(0.97), 100, wrong(4)), Score(row(None), 9, ())]))
    text = console.file.getvalue()
    assert "97%" in text
    assert "96.0%" in text
    assert "100.0%" in text
    assert not Score(row(0.97), 100, wrong(4)).met


def test_every_row_of_the_table_can_be_asked(bank):
    rows = [*table(bank), *reading_curve()]
    assert len({r.name for r in rows}) == len(rows) >= 17
    for one in rows:
        for seed, example, question in one.questions(4):
            assert not question.lesson
            assert question.accepts(question.answer)
            conversation = messages(example, question, seed)
            if not any(isinstance(medium, Clip) for medium in example.media):  # x264 may write other bytes
                assert conversation == messages(example, question, seed)
            assert len(conversation[-1]["content"]) == len(example.prompt) + 1


def test_pictures_come_in_all_formats(bank):
    [one] = [r for r in table(bank) if r.name.startswith("one object")]
    urls = [
        part["image_url"]["url"][:14]
        for seed, example, question in one.questions(30)
        for part in messages(example, question, seed)[-1]["content"]
        if part["type"] == "image_url"
    ]
    assert {url.partition(";")[0] for url in urls} == {"data:image/png", "data:image/jpe", "data:image/web"}
    assert np.mean([url.startswith("data:image/png") for url in urls]) < 0.8
