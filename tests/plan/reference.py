"""Counts items with the models' real processors, in a process of its own: ``python -m tests.plan.reference FOLDER``.

Reads ``calls.json`` (by family, the model's files and the items) and writes ``counts.json``. Nothing is downloaded, and
no pixel is computed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.plan import other_counters, qwen_counters, tile_counters
from tests.plan.counting import REFUSED, Call, Counter

FAMILIES = {
    "qwen2_vl": qwen_counters.qwen_vl,
    "qwen3_vl": qwen_counters.qwen3_vl,
    "qwen2_5_omni": qwen_counters.qwen25_omni,
    "qwen3_omni": qwen_counters.qwen3_omni,
    "qwen2_audio": qwen_counters.qwen_audio,
    "internvl": tile_counters.internvl,
    "nvlm_d": tile_counters.nvlm,
    "llava": tile_counters.llava,
    "llava_next": tile_counters.llava_next,
    "llava_onevision": tile_counters.llava_onevision,
    "pixtral": tile_counters.pixtral,
    "mistral3": tile_counters.mistral3,
    "idefics3": other_counters.idefics3,
    "gemma3": other_counters.gemma3,
    "ovis": other_counters.ovis,
    "ovis2_5": other_counters.ovis2_5,
    "molmo": other_counters.molmo,
    "phi4mm": other_counters.phi4mm,
}


def main(folder: Path) -> None:
    counts = {}
    for name, given in json.loads((folder / "calls.json").read_text()).items():
        family = name.partition(":")[0]
        counters = FAMILIES[family](given["files"])
        counts[name] = {
            kind: [attempt(counters[kind], call) for call in calls] for kind, calls in given["calls"].items()
        }
    (folder / "counts.json").write_text(json.dumps(counts))


def attempt(count: Counter, call: Call) -> Any:
    try:
        counted = count(call)
    except (ValueError, AssertionError):
        return REFUSED
    return None if counted is REFUSED else int(counted)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
