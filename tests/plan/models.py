"""Files of models as their publishers write them, as far as they decide how media is counted; and what to count."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

NANO = Path(__file__).parents[2] / "models" / "nano" / "checkpoint"
ITEMS = 500


def read(name: str) -> dict[str, Any]:
    return json.loads((NANO / name).read_text())


def qwen_sizes(patch: int, least: int, most: int) -> dict[str, Any]:
    return {
        "patch_size": patch,
        "merge_size": 2,
        "temporal_patch_size": 2,
        "do_resize": True,
        "size": {"shortest_edge": least, "longest_edge": most},
    }


WHISPER = {"feature_size": 128, "sampling_rate": 16000, "hop_length": 160, "chunk_length": 30, "n_fft": 400}
ANYRES = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
ONEVISION = [[384 * rows, 384 * columns] for rows in range(1, 7) for columns in range(1, 7)]
CLIP = {"model_type": "clip_vision_model", "image_size": 336, "patch_size": 14}
SIGLIP = {"model_type": "siglip_vision_model", "image_size": 384, "patch_size": 14}
PIXTRAL = {"model_type": "pixtral", "image_size": 1024, "patch_size": 16}
TILES = {
    "vision_config": {"image_size": 448, "patch_size": 14},
    "downsample_ratio": 0.5,
    "dynamic_image_size": True,
    "use_thumbnail": True,
    "min_dynamic_patch": 1,
}
QWEN2_VIDEO = qwen_sizes(14, 128 * 28 * 28, 768 * 28 * 28)
QWEN3_VIDEO = qwen_sizes(16, 4096, 25_165_824)

# By the family's name, and after a colon whatever else there is to tell.
MODELS: dict[str, dict[str, Any]] = {
    "qwen2_vl": {
        "model": {"model_type": "qwen2_vl"},
        "image": qwen_sizes(14, 3136, 12_845_056),
        "video": {**QWEN2_VIDEO, "cap_pixels_per_frame": None},
    },
    "qwen2_vl:capped": {
        "model": {"model_type": "qwen2_5_vl"},
        "image": qwen_sizes(14, 3136, 1_003_520),
        "video": {**QWEN2_VIDEO, "cap_pixels_per_frame": True, "max_video_tokens": 16_000},
    },
    "qwen3_vl": {
        "model": {"model_type": "qwen3_vl"},
        "image": qwen_sizes(16, 65_536, 16_777_216),
        "video": {**QWEN3_VIDEO, "cap_pixels_per_frame": False},
    },
    "qwen3_vl:capped": {
        "model": {"model_type": "qwen3_vl_moe"},
        "image": qwen_sizes(16, 65_536, 1_048_576),
        "video": {**QWEN3_VIDEO, "cap_pixels_per_frame": True, "max_video_tokens": 768},
    },
    "qwen2_5_omni": {
        "model": {"model_type": "qwen2_5_omni"},
        "image": qwen_sizes(14, 3136, 12_845_056),
        "video": {**qwen_sizes(14, 3136, 12_845_056), "cap_pixels_per_frame": False},
        "audio": {**WHISPER, "chunk_length": 40, "n_samples": 40 * 16000},
    },
    "qwen2_5_omni:nano": {
        "model": read("config.json"),
        "image": read("preprocessor_config.json"),
        "video": read("video_preprocessor_config.json"),
        "audio": read("preprocessor_config.json"),
        "tokenizer": read("tokenizer_config.json"),
    },
    "qwen3_omni": {
        "model": {"model_type": "qwen3_omni_moe"},
        "image": qwen_sizes(16, 3136, 12_845_056),
        "video": {**qwen_sizes(16, 3136, 12_845_056), "cap_pixels_per_frame": False},
        "audio": {**WHISPER, "n_samples": 30 * 16000},
    },
    "qwen2_audio": {"model": {"model_type": "qwen2_audio"}, "audio": {**WHISPER, "n_samples": 30 * 16000}},
    "internvl": {"model": {"model_type": "internvl_chat", **TILES, "max_dynamic_patch": 12}},
    "internvl:40": {"model": {"model_type": "internvl_chat", **TILES, "max_dynamic_patch": 40, "min_dynamic_patch": 3}},
    "internvl:fixed": {
        "model": {"model_type": "internvl_chat", **TILES, "max_dynamic_patch": 12, "dynamic_image_size": False}
    },
    "internvl:bare": {
        "model": {"model_type": "internvl_chat", **TILES, "max_dynamic_patch": 6, "use_thumbnail": False}
    },
    "nvlm_d": {"model": {"model_type": "NVLM_D", **TILES, "max_dynamic_patch": 6}},
    "llava": {"model": {"model_type": "llava", "vision_config": CLIP, "vision_feature_select_strategy": "default"}},
    "llava:siglip": {
        "model": {"model_type": "llava", "vision_config": SIGLIP, "vision_feature_select_strategy": "full"}
    },
    "llava_next": {
        "model": {
            "model_type": "llava_next",
            "vision_config": CLIP,
            "vision_feature_select_strategy": "default",
            "image_grid_pinpoints": ANYRES,
        }
    },
    "llava_onevision": {
        "model": {
            "model_type": "llava_onevision",
            "vision_config": SIGLIP,
            "vision_feature_select_strategy": "full",
            "image_grid_pinpoints": ONEVISION,
        }
    },
    "pixtral": {"model": {"model_type": "llava", "vision_config": PIXTRAL}},
    "mistral3": {
        "model": {"model_type": "mistral3", "vision_config": {**PIXTRAL, "patch_size": 14}, "spatial_merge_size": 2},
        "image": {"size": {"longest_edge": 1540}},
    },
    "idefics3": {
        "model": {"model_type": "idefics3"},
        "image": {
            "do_resize": True,
            "size": {"longest_edge": 4 * 364},
            "max_image_size": {"longest_edge": 364},
            "do_image_splitting": True,
        },
        "processor": {"image_seq_len": 169},
    },
    "idefics3:smolvlm": {
        "model": {"model_type": "smolvlm"},
        "image": {
            "do_resize": True,
            "size": {"longest_edge": 2048},
            "max_image_size": {"longest_edge": 512},
            "do_image_splitting": True,
        },
        "processor": {"image_seq_len": 64},
    },
    "idefics3:whole": {
        "model": {"model_type": "idefics3"},
        "image": {
            "do_resize": True,
            "size": {"longest_edge": 364},
            "max_image_size": {"longest_edge": 364},
            "do_image_splitting": False,
        },
        "processor": {"image_seq_len": 169},
    },
    "gemma3": {
        "model": {"model_type": "gemma3"},
        "image": {"size": {"height": 896, "width": 896}, "do_pan_and_scan": True},
        "processor": {"image_seq_length": 256},
    },
    "gemma3:panned": {
        "model": {"model_type": "gemma3"},
        "image": {"size": {"height": 896, "width": 896}},
        "processor": {"image_seq_length": 256},
        "options": {
            "do_pan_and_scan": True,
            "pan_and_scan_min_crop_size": 256,
            "pan_and_scan_max_num_crops": 4,
            "pan_and_scan_min_ratio_to_activate": 1.2,
        },
    },
    "ovis": {
        "model": {
            "model_type": "ovis",
            "visual_tokenizer_config": {"backbone_config": {"image_size": 448, "patch_size": 14}, "hidden_stride": 2},
        },
        "image": {"size": {"shortest_edge": 448}},
    },
    "ovis2_5": {
        "model": {
            "model_type": "ovis2_5",
            "vit_config": {"patch_size": 16, "hidden_stride": 2, "temporal_patch_size": 1},
        }
    },
    "molmo": {
        "model": {"model_type": "molmo"},
        "image": {
            "base_image_input_size": [336, 336],
            "image_patch_size": 14,
            "image_token_length_w": 12,
            "image_token_length_h": 12,
            "max_crops": 12,
            "overlap_margins": [4, 4],
        },
    },
    "phi4mm": {
        "model": {"model_type": "phi4mm", "embd_layer": {"audio_embd_layer": {"compression_rate": 8}}},
        "image": {"dynamic_hd": 36},
        "audio": {"sampling_rate": 16000},
    },
}


def side(chance: random.Random) -> int:
    """Pixels: small, large, round and odd ones."""
    return chance.choice(
        [
            chance.randint(1, 60),
            chance.randint(1, 1200),
            chance.randint(1, 5000),
            28 * chance.randint(1, 60),
            112 * chance.randint(1, 20) + chance.randint(-1, 1),
        ]
    )


def images(chance: random.Random) -> list[list[int]]:
    return [[side(chance), side(chance)] for _ in range(ITEMS)]


def videos(chance: random.Random) -> list[list[int]]:
    """Frames, width, height."""
    return [[chance.randint(1, 90), side(chance), side(chance)] for _ in range(ITEMS)]


def timed_videos(chance: random.Random) -> list[list[Any]]:
    """Indices of the frames that are sent, frames a second of the whole, width, height."""
    made = []
    for frames, width, height in videos(chance):
        step = chance.randint(1, 40)
        made.append([list(range(0, frames * step, step)), chance.choice([24, 25, 30, 29.97, 60.0]), width, height])
    return made


def sounds(chance: random.Random) -> list[list[int]]:
    lengths = [160 * chance.randint(0, 9000) + chance.choice([-1, 0, 1, 7]) for _ in range(ITEMS - 100)]
    return [[max(1, length)] for length in [*range(1, 1001, 10), *lengths]]


def calls(name: str) -> dict[str, list[list[Any]]]:
    """Items of each kind that the family counts."""
    chance = random.Random(name)
    family, files = name.partition(":")[0], MODELS[name]
    made: dict[str, list[list[Any]]] = {}
    if family != "qwen2_audio":
        made["image"] = images(chance)
    if family == "qwen3_vl":
        made["video"] = timed_videos(chance)
    elif "video" in files or family in ("internvl", "llava_onevision", "ovis2_5"):
        made["video"] = videos(chance)
    if "audio" in files:
        made["audio"] = sounds(chance)
    if family.endswith("omni"):
        made["sound"] = [[*video, *sound] for video, sound in zip(videos(chance), sounds(chance), strict=True)]
    return made
