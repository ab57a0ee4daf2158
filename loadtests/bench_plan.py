"""How fast plans are made: ``make bench-plan``. One core, no model, no network; families as they are announced."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

from tessera.gateway.media_options import MediaOptions
from tessera.gateway.planning import Planner
from tessera.media import MediaItem, MediaSpec, Modality
from tessera.plan import Family, Unplannable, announced_family
from tessera.queue import ModelCard

ROUNDS, ROUND_S, SIZES = 3, 0.1, 997
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


def to_expect_us(name: str) -> float:
    """What a request with one image pays in the gateway, microseconds of CPU."""
    card = ModelCard(name, "", 4096, {"image": 1}, plan=family(name).to_json())
    options, planner = MediaOptions(MediaSpec(), sound_of_videos=False), Planner()

    def expect(width: int, height: int) -> object:
        return planner.expect(card, [MediaItem(Modality.IMAGE, "", (height, width, 3), 0, {})], options)

    return 1e6 / per_second(expect)


def main() -> None:
    """Print a line for each family."""
    table = Table("family", "image plans a second", "added to a request, µs")
    for name in FAMILIES:
        table.add_row(name, f"{per_second(family(name).image):,.0f}", f"{to_expect_us(name):.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
