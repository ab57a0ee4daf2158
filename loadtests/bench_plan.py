"""How fast plans are made: ``make bench-plan``. One core, no model, no network; families as they are announced."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import orjson
from rich.console import Console
from rich.table import Table

from tessera.errors import ContextLengthExceeded
from tessera.gateway.body import Document
from tessera.gateway.context_limit import ContextLimit
from tessera.gateway.endpoints import CHAT
from tessera.gateway.media_options import MediaOptions
from tessera.gateway.media_part import MediaPart
from tessera.gateway.planning import Planner
from tessera.gateway.prompt_counters import PromptCounters
from tessera.media import MediaItem, MediaSource, MediaSpec, Modality
from tessera.plan import Family, Unplannable, announced_family
from tessera.prompt import PromptCounter, PromptFiles, TemplateFile
from tessera.queue import ModelCard, PromptStore
from tessera.settings import EMBEDDED_MODEL

ROUNDS, ROUND_S, SIZES = 3, 0.1, 997
REQUESTS, TEXTS, LENGTHS = 2000, 30, (1_000, 8_000, 64_000)
_PART = {"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}
_BODY = {"messages": [{"role": "user", "content": [_PART, {"type": "text", "text": "What is in this picture?"}]}]}
LARGEST = 6000

_QWEN = {
    "patch_size": 14, "merge_size": 2, "temporal_patch_size": 2, "min_pixels": 3136, "max_pixels": 12_845_056,
    "video_min_pixels": 100_352, "video_max_pixels": 602_112, "video_cap_tokens": 0,
}  # fmt: skip
_TILES = {"tile_size": 448, "tile_tokens": 256, "min_tiles": 1, "max_tiles": 12, "thumbnail": True}
_CLIP = {"tile_size": 336, "grid_side": 24, "base_tokens": 576}
_ANYRES = [[384 * rows, 384 * columns] for rows in range(1, 7) for columns in range(1, 7)]
FAMILIES: dict[str, dict[str, Any]] = {
    "qwen2_vl": _QWEN,
    "qwen3_vl": _QWEN,
    "internvl": _TILES,
    "nvlm_d": {**_TILES, "max_tiles": 6},
    "llava": _CLIP,
    "llava_next": {**_CLIP, "resolutions": _ANYRES[:5]},
    "llava_onevision": {**_CLIP, "resolutions": _ANYRES, "pool_stride": 2},
    "pixtral": {"max_side": 1024, "patch_size": 16},
    "gemma3": {"tile_size": 896, "tile_tokens": 256, "max_crops": 4, "min_crop_size": 256, "min_ratio": 1.2},
    "idefics3": {"longest_side": 1456, "tile_size": 364, "tile_tokens": 169, "split": True},
    "phi4mm": {"max_tiles": 36, "audio_compression": 8},
    "ovis": {"tile_size": 448, "tile_tokens": 255},
    "ovis2_5": {"patch_size": 16, "hidden_stride": 2, "temporal_patch_size": 1},
    "molmo": {
        "patch_size": 14, "crop_patches": 24, "max_crops": 12, "left_margin": 4, "right_margin": 4,
        "whole_columns": 12, "whole_rows": 12,
    },
}  # fmt: skip


def family(name: str) -> Family:
    """One of them."""
    return announced_family({"family": name, "parameters": FAMILIES[name]})


def per_second(work: Callable[[int, int], object]) -> float:
    """Median of the rounds, over sizes that nobody has seen before."""
    chance = random.Random(1)
    sizes = [(chance.randint(20, LARGEST), chance.randint(20, LARGEST)) for _ in range(SIZES)]
    rates = []
    for _ in range(ROUNDS):
        done, start = 0, time.process_time()
        while (elapsed := time.process_time() - start) < ROUND_S:
            for size in sizes:
                try:
                    work(*size)
                except Unplannable:
                    continue
            done += SIZES
        rates.append(done / elapsed)
    return statistics.median(rates)


async def added_us(name: str) -> float:
    """What a request with a short text and one image waits longer before it is queued: median, microseconds."""
    counters = PromptCounters(cast(PromptStore, None))  # nothing is near the limit
    card = ModelCard(name, "", 32_768, {"image": 1}, plan=family(name).to_json(), prompts="announced")
    planner, options = Planner(), MediaOptions(MediaSpec(), sound_of_videos=False)
    part = MediaPart(("messages", 0, "content", 0), Modality.IMAGE, MediaSource.from_url("https://example.com/x.png"))
    document = await Document.read(bytearray(orjson.dumps(_BODY)), 1000)
    chance, waits = random.Random(1), []
    for _ in range(REQUESTS):
        shape = (chance.randint(100, LARGEST), chance.randint(100, LARGEST), 3)
        item = MediaItem(Modality.IMAGE, "", shape, 0, {})
        start = time.perf_counter()
        limit = ContextLimit(document, CHAT, card, [part], counters, planner)
        with suppress(ContextLengthExceeded):
            await limit.check_text()
            limit.add(part, item, options)
            planner.expect(card, [item], options, counters.loaded(card))
            await limit.check()
        waits.append(1e6 * (time.perf_counter() - start))
    counters.close()
    return statistics.median(waits)


def counting_us(nbytes: int) -> float:
    """What a chat near the limit pays for having its text counted: median, microseconds of a thread."""
    template = TemplateFile((EMBEDDED_MODEL / "chat_template.jinja").read_text(), "openai")
    counter = PromptCounter(PromptFiles((EMBEDDED_MODEL / "tokenizer.json").read_text(), template, template))
    chance, waits = random.Random(1), []
    for _ in range(TEXTS):
        words = " ".join("".join(chance.choices("abcdefghijklmnop", k=5)) for _ in range(nbytes // 6))
        start = time.perf_counter()
        counter.chat({"messages": [{"role": "user", "content": words}]}, {})
        waits.append(1e6 * (time.perf_counter() - start))
    return statistics.median(waits)


def main() -> None:
    """Print a line for each family, and for some lengths of text."""
    table = Table("family", "image plans a second", "added before a request is queued, µs (p50)")
    for name in FAMILIES:
        table.add_row(name, f"{per_second(family(name).image):,.0f}", f"{asyncio.run(added_us(name)):.1f}")
    Console().print(table)
    table = Table("text near the limit, bytes", "counted in, µs (p50)")
    for nbytes in LENGTHS:
        table.add_row(f"{nbytes:,}", f"{counting_us(nbytes):,.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
