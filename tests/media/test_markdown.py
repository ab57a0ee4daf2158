"""Images in Markdown."""

from __future__ import annotations

import pytest

from tessera.errors import MediaTooLarge
from tessera.media.markdown import MOST_IMAGES, links

DATA = "data:image/png;base64," + "A" * 100_000


def found(text):
    """What stands in the place of each image, and what it leads to."""
    return [(text[link.start : link.end], link.url or text[slice(*link.data)]) for link in links(text)]


@pytest.mark.parametrize(
    ("text", "image", "url"),
    [
        ("![a](http://x/a.png)", "![a](http://x/a.png)", "http://x/a.png"),
        (f"see ![a]({DATA} 'A title') here", f"![a]({DATA} 'A title')", DATA),
        ("> one\n> ![a](https://x/a.png) two", "![a](https://x/a.png)", "https://x/a.png"),
        ("- one\n\n  ![a](http://x/a) two", "![a](http://x/a)", "http://x/a"),
        ("# ![a](http://x/a) #", "![a](http://x/a)", "http://x/a"),
        ("| ![a](http://x/a) | b |", "![a](http://x/a)", "http://x/a"),
        ("[![a](http://x/a)](http://y)", "![a](http://x/a)", "http://x/a"),
        ("![a][r]\n\n[r]: http://x/a", "![a][r]", "http://x/a"),
        (f"![a][r]\n\n[r]: {DATA}", "![a][r]", DATA),
        ("![a\nb](http://x/a)", "![a\nb](http://x/a)", "http://x/a"),
        ("> ![a\n> b](http://x/a)", "![a\n> b](http://x/a)", "http://x/a"),
        ("![](<http://x/a b>)", "![](<http://x/a b>)", "http://x/a%20b"),
        ("![![b](http://no)](http://x/a)", "![![b](http://no)](http://x/a)", "http://x/a"),
        ("`![no](http://no)` ![no](http://no)", "![no](http://no)", "http://no"),
        ("é\u2028 ![a](http://x/a)", "![a](http://x/a)", "http://x/a"),
    ],
)
def test_an_image_and_where_it_stands(text, image, url):
    assert found(text) == [(image, url)]
    assert text[links(text)[0].start :].startswith(image)


def test_of_two_that_look_alike_the_one_in_code_is_none():
    [link] = links("`![a](http://x)` ![a](http://x)")
    assert link.start == 17


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no image",
        "![a](a.png)",
        "![a](/etc/passwd)",
        "![a](file:///etc/passwd)",
        "![a](javascript:alert(1))",
        "\\![a](http://x)",
        "`![a](http://x)`",
        "```\n![a](http://x)\n```",
        "    ![a](http://x)",
        "![a](http://x",
        "![a][nothing]",
        f"`![a]({DATA})`",
        "<img src='http://x'>",
    ],
)
def test_what_is_no_image_or_leads_nowhere(text):
    assert found(text) == []


def test_many_keep_their_order_and_their_places():
    text = "\n\n".join(f"{number} ![{number}]({DATA}{number}) and ![r](http://x/{number})" for number in range(20))
    images = found(text)
    assert [url for _, url in images] == [url for n in range(20) for url in (f"{DATA}{n}", f"http://x/{n}")]
    assert all(image.startswith("![") and image.endswith(")") for image, _ in images)


def test_too_many_or_too_long():
    with pytest.raises(MediaTooLarge, match="128 images"):
        links("![a](http://x) " * (MOST_IMAGES + 1))
    with pytest.raises(MediaTooLarge, match="characters"):
        links(f"![a](http://x/{'a' * 40_000})")


def test_a_text_of_nothing_but_beginnings():
    assert links("![" * 2000) == []
