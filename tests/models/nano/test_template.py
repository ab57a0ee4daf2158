from __future__ import annotations

from pathlib import Path

from jinja2 import Environment

from tessera.settings import EMBEDDED_MODEL

TEMPLATE = Environment(trim_blocks=True, lstrip_blocks=True).from_string(
    Path(EMBEDDED_MODEL, "chat_template.jinja").read_text()
)


def rendered(*roles):
    messages = [{"role": role, "content": f"text {i}"} for i, role in enumerate(roles)]
    return TEMPLATE.render(messages=messages, tools=None, add_generation_prompt=True)


def test_a_developer_is_the_system_wherever_it_speaks():
    for roles in (["developer", "user"], ["user", "developer", "user"], ["system", "developer", "user"]):
        as_system = ["system" if role == "developer" else role for role in roles]
        assert rendered(*roles) == rendered(*as_system)
        assert "developer" not in rendered(*roles)
