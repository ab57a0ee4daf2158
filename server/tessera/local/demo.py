"""``tessera demo``: start everything, ask about a picture, a clip and a sound in one message, show the answer, stop."""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
from rich.console import Console

from tessera.local import samples
from tessera.local.stack import Stack
from tessera.local.up import ended_by_signals, started
from tessera.settings import Settings

MAX_TOKENS = 48
ANSWER_TIMEOUT_S = 120


async def run_demo(settings: Settings, *, verbose: bool) -> bool:
    """Returns whether the whole answer came.

    Raises:
        StartFailed: something did not come up.
    """
    console = Console(highlight=False)
    answered = False
    with ended_by_signals():
        async with started(settings, console, verbose=verbose) as stack:
            await _ask(stack, console)
            answered = True
    return answered


def demo_request(model: str) -> dict[str, Any]:
    """A streamed chat request with text, an image, a video clip and a sound, interleaved."""

    def url(mime: str, data: bytes) -> dict[str, str]:
        return {"url": f"data:{mime};base64,{base64.b64encode(data).decode()}"}

    content = [
        {"type": "text", "text": "Here is a picture:"},
        {"type": "image_url", "image_url": url("image/png", samples.image())},
        {"type": "text", "text": "a clip:"},
        {"type": "video_url", "video_url": url("video/mp4", samples.video())},
        {"type": "text", "text": "and a sound:"},
        {"type": "audio_url", "audio_url": url("audio/wav", samples.audio())},
        {"type": "text", "text": "What do you see and hear?"},
    ]
    return {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": MAX_TOKENS,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def _ask(stack: Stack, console: Console) -> None:
    request = demo_request(stack.model)
    shown = (p.get("text") or f"⟨{p['type'].removesuffix('_url')}⟩" for p in request["messages"][0]["content"])
    console.print(f"\n[bold]You[/]           {' '.join(shown)}")
    console.print(f"[bold]{stack.model}[/]  ", end="")
    asked = time.monotonic()
    first: float | None = None
    usage: dict[str, Any] = {}
    async for event in _events(f"{stack.url}/v1/chat/completions", request, stack.headers):
        usage = event.get("usage") or usage
        text = "".join(choice["delta"].get("content") or "" for choice in event["choices"])
        if text and first is None:
            first = time.monotonic() - asked
        console.print(text, end="", markup=False)
    details = (usage.get("prompt_tokens_details") or {}).get("multimodal_tokens") or {}
    text_tokens = usage.get("prompt_tokens", 0) - sum(details.values())
    counts = ", ".join(f"{count} {kind}" for kind, count in {"text": text_tokens, **details}.items())
    console.print(f"\n\nTime to first token: {1000 * (first or 0):.0f} ms (the first request; later ones are faster)")
    console.print(f"Tokens: {counts} in the prompt; {usage.get('completion_tokens', 0)} in the answer\n")


async def _events(url: str, request: dict[str, Any], headers: dict[str, str]) -> AsyncIterator[dict[str, Any]]:
    """The events of a streamed answer.

    Raises:
        RuntimeError: the server answered with an error, at once or in the stream.
    """
    timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S)
    asking = aiohttp.ClientSession(timeout=timeout, headers=headers)
    async with asking as session, session.post(url, json=request) as response:
        if response.status != 200:
            raise RuntimeError(f"HTTP {response.status}: {await response.text()}")
        async for line in response.content:
            if line.startswith(b"data: {"):
                event = orjson.loads(line[len(b"data: ") :])
                if "error" in event:
                    raise RuntimeError(event["error"]["message"])
                yield event
