"""Templates are the operator's, and what they are given is a client's: neither gets more than it should."""

from __future__ import annotations

import pytest

from tessera.prompt import ChatTemplate, Uncountable

MESSAGES = [{"role": "user", "content": "Hello"}]


def render(source: str, **given) -> str:
    options = {"options": {}, "special_tokens": {}, **given}
    return ChatTemplate(source).render(options.pop("messages", MESSAGES), **options)


def test_what_templates_are_given():
    source = "{{ bos }}|{{ tools | tojson }}|{{ documents }}|{{ add_generation_prompt }}|{{ style }}"
    given = {"options": {"style": "terse", "unknown": 1}, "special_tokens": {"bos": "<s>"}, "tools": [{"é": "<>&'"}]}
    assert render(source, **given) == """<s>|[{"é": "<>&'"}]|None|True|terse"""
    assert render("{{ strftime_now('%Y') | length }}{% generation %}x{% endgeneration %}") == "4x"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{{ raise_exception('Only cats.') }}", "Only cats."),
        ("{{ messages[0].content.__class__.__mro__ }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe"),
        ("{{ 1 / 0 }}", "division"),
        ("{{ nobody.knows }}", "undefined"),
        ("{% for _ in range(10 ** 9) %}x{% endfor %}", "range"),
        ("{% for _ in range(90000) %}{{ messages[0].content * 1000 }}{% endfor %}", "characters"),
    ],
)
def test_what_they_may_not(source, reason):
    with pytest.raises(Uncountable, match=reason):
        render(source)


def test_they_end_in_time():
    with pytest.raises(Uncountable, match="longer"):
        render("{% for _ in range(9) %}x{% endfor %}", limit_s=-1)


def test_one_that_is_none():
    with pytest.raises(Uncountable, match="compiled"):
        ChatTemplate("{% for %}")


@pytest.mark.parametrize(
    ("source", "content", "wanted"),
    [
        ("<{{ messages[-1].content }}>", "Once ", "<Once "),
        ("<{{ messages[-1].content | trim }}>", "Once ", "<Once"),
        ("{% for part in messages[-1].content %}{{ part.text }}{% endfor %}.", [{"type": "text", "text": "On"}], "On"),
    ],
)
def test_a_message_that_is_continued_is_the_end(source, content, wanted):
    messages = [{"role": "assistant", "content": content}]
    given = {"messages": messages, "continued": True, "add_generation_prompt": False}
    assert render(source, **given) == wanted
    assert messages == [{"role": "assistant", "content": content}]


@pytest.mark.parametrize(
    ("source", "content"),
    [("{{ messages[-1].role }}", "x"), ("content", "x"), ("{{ messages[-1].content }}", [{"type": "image"}])],
)
def test_what_cannot_be_continued(source, content):
    messages = [{"role": "assistant", "content": content}]
    with pytest.raises(Uncountable):
        render(source, messages=messages, continued=True, add_generation_prompt=False)
