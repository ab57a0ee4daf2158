"""Counts with vLLM's own renderer, in a process of its own: ``python -m tests.prompt.reference FOLDER``.

Reads ``templates.json`` (each a template, or null for the model's own, and how contents are given to it) and
``bodies.json``: of chats, and by path those of other APIs. Writes what a worker would announce for each template,
``<number>.prompts``, and ``counts.json``: for each template the text tokens of each body, or null where vLLM refuses
it.
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
    from vllm.entrypoints.anthropic.protocol import AnthropicMessagesRequest
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.entrypoints.openai.responses.protocol import ResponsesRequest
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
        counts.append(
            {
                "/v1/chat/completions": [
                    await count(online.render_chat, ChatCompletionRequest, body)
                    for body in bodies["/v1/chat/completions"]
                ],
                "/v1/messages": [
                    await count(messages_of(online), AnthropicMessagesRequest, body) for body in bodies["/v1/messages"]
                ],
                "/v1/responses": [
                    await count(online.render_responses, ResponsesRequest, body) for body in bodies["/v1/responses"]
                ],
            }
        )
    (folder / "counts.json").write_text(json.dumps(counts))


def messages_of(online: Any) -> Any:
    """Renders what ``/v1/messages`` gets, as vLLM does without an engine."""
    from vllm.entrypoints.anthropic.serving import AnthropicServingMessages

    serving = object.__new__(AnthropicServingMessages)
    serving.online_renderer, serving.model_config = online, online.model_config
    serving._disabled_thinking_effort = None
    system_first = AnthropicServingMessages._should_merge_inline_system(online)

    async def render(request: Any) -> Any:
        effort = await serving._get_disabled_thinking_effort()
        chat = serving.to_chat_completion_request(
            request, merge_inline_system=system_first, disabled_thinking_effort=effort
        )
        return await online.render_chat(chat)

    return render


async def count(render: Any, schema: Any, body: dict[str, Any]) -> int | None:
    from vllm.exceptions import VLLMValidationError

    try:
        done = await render(schema(**body))
    except (VLLMValidationError, ValueError):
        return None
    made = done[1][0] if isinstance(done, tuple) else done.engine_input
    places = (made.get("mm_placeholders") or {}).values()
    return len(made["prompt_token_ids"]) - sum(place.length for places_of_one in places for place in places_of_one)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
