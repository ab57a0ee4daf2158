"""Counts with vLLM's own renderer, in a process of its own: ``python -m tests.prompt.reference FOLDER``.

Reads ``templates.json`` (each a template, or null for the model's own, and how contents are given to it) and
``bodies.json``; writes what a worker would announce for each template, ``<number>.prompts``, and ``counts.json``: for
each template the text tokens of each body, or null where vLLM refuses it.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tessera.settings import EMBEDDED_MODEL
from tessera.worker.prompt_files import announce_prompts

LIMITS = {"image": 8, "video": 2, "audio": 4}


def picture() -> str:
    """An image as clients send it."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (60, 40), "red").save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


async def main(folder: Path) -> None:
    from vllm.config import ModelConfig, VllmConfig
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.renderers import renderer_from_config
    from vllm.renderers.online_renderer import OnlineRenderer

    model = ModelConfig(
        model=str(EMBEDDED_MODEL), dtype="float32", max_model_len=8192, limit_mm_per_prompt=LIMITS, seed=0
    )
    renderer = renderer_from_config(VllmConfig(model_config=model))
    bodies = json.loads((folder / "bodies.json").read_text())
    counts = []
    for number, (template, content_format, excluded) in enumerate(json.loads((folder / "templates.json").read_text())):
        online = OnlineRenderer(
            model,
            renderer,
            request_logger=None,
            chat_template=template,
            chat_template_content_format=content_format,
            enable_auto_tools=True,
            exclude_tools_when_tool_choice_none=excluded,
            tool_parser="hermes",
            default_chat_template_kwargs={"style": "usual"} if excluded else None,
        )
        app = SimpleNamespace(state=SimpleNamespace(online_renderer=online))
        (folder / f"{number}.prompts").write_bytes(announce_prompts(app, LIMITS))
        counts.append([await count(online, ChatCompletionRequest, body) for body in bodies])
    (folder / "counts.json").write_text(json.dumps(counts))


async def count(online: Any, schema: Any, body: dict[str, Any]) -> int | None:
    from vllm.exceptions import VLLMValidationError

    try:
        _, [made] = await online.render_chat(schema(**body))
    except (VLLMValidationError, ValueError):
        return None
    places = (made.get("mm_placeholders") or {}).values()
    return len(made["prompt_token_ids"]) - sum(place.length for places_of_one in places for place in places_of_one)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
