"""The files of each model, but for the tokenizer's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.tiny import tokenizer

ENGINE_ARGS = (
    "--load-format dummy --max-model-len 4096 --max-num-batched-tokens 4096 --max-num-seqs 8 --trust-remote-code "
    """--limit-mm-per-prompt '{"image": 4}' """
    "--distributed-executor-backend vllm.v1.executor.uniproc_executor.UniProcExecutor"
)
# Attention on a CPU wants heads of 32.
HIDDEN, _HEADS, _LAYERS = 64, 2, 1
_TILE, _PATCH = 56, 14
_TEXT: dict[str, Any] = {
    "hidden_size": HIDDEN,
    "intermediate_size": 2 * HIDDEN,
    "num_hidden_layers": _LAYERS,
    "num_attention_heads": _HEADS,
    "num_key_value_heads": _HEADS,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-6,
    "torch_dtype": "float32",
}
_VISION: dict[str, Any] = {
    "hidden_size": HIDDEN,
    "intermediate_size": 2 * HIDDEN,
    "num_hidden_layers": _LAYERS,
    "num_attention_heads": _HEADS,
    "image_size": _TILE,
    "patch_size": _PATCH,
    "num_channels": 3,
}
_PIXELS = {"do_resize": True, "do_rescale": True, "do_normalize": True, "do_convert_rgb": True, "resample": 3}
_HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}

_Ids = dict[str, int]


def _qwen2_vl(folder: Path) -> None:
    marks = ("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")
    ids = tokenizer.write(folder, marks)
    size = {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 400}
    patches = {"patch_size": 14, "merge_size": 2, "temporal_patch_size": 2, "size": size, **_PIXELS, **_HALF}
    _write(folder, "preprocessor_config", patches | {"image_processor_type": "Qwen2VLImageProcessor"})
    _write(folder, "video_preprocessor_config", patches | {"video_processor_type": "Qwen2VLVideoProcessor"})
    _write(folder, "processor_config", {"processor_class": "Qwen2VLProcessor"})
    named = zip(("vision_start", "vision_end", "vision", "image", "video"), marks, strict=True)
    _config(
        folder,
        ids,
        "Qwen2VLForConditionalGeneration",
        "qwen2_vl",
        {
            **_TEXT,
            "rope_scaling": {"type": "mrope", "mrope_section": [4, 6, 6]},
            "vision_config": {
                "depth": _LAYERS,
                "embed_dim": HIDDEN,
                "hidden_size": HIDDEN,
                "num_heads": _HEADS,
                "mlp_ratio": 2,
                "in_channels": 3,
                "patch_size": 14,
                "spatial_merge_size": 2,
                "temporal_patch_size": 2,
            },
            **{f"{name}_token_id": ids[mark] for name, mark in named},
        },
    )


_INTERNVL_CONFIG = """
from transformers import PretrainedConfig, Qwen2Config


class InternVLChatConfig(PretrainedConfig):
    model_type = "internvl_chat"

    def __init__(self, vision_config=None, llm_config=None, **kwargs):
        super().__init__(**kwargs)
        self.vision_config = PretrainedConfig(**(vision_config or {}))
        self.llm_config = Qwen2Config(**(llm_config or {}))
"""


def _internvl(folder: Path) -> None:
    ids = tokenizer.write(folder, ("<img>", "</img>", "<IMG_CONTEXT>", "<image>", "<video>", "<|video_pad|>"))
    (folder / "configuration_internvl_chat.py").write_text(_INTERNVL_CONFIG)
    vision = {
        **_VISION,
        "hidden_act": "gelu",
        "norm_type": "layer_norm",
        "layer_norm_eps": 1e-6,
        "qkv_bias": True,
        "qk_normalization": False,
        "initializer_factor": 1.0,
        "model_type": "intern_vit_6b",
    }
    text = {**_TEXT, "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "vocab_size": _vocabulary(ids)}
    _config(
        folder,
        ids,
        "InternVLChatModel",
        "internvl_chat",
        {
            "auto_map": {"AutoConfig": "configuration_internvl_chat.InternVLChatConfig"},
            "vision_config": vision,
            "llm_config": text,
            "downsample_ratio": 0.5,
            "dynamic_image_size": True,
            "force_image_size": _TILE,
            "min_dynamic_patch": 1,
            "max_dynamic_patch": 6,
            "use_thumbnail": True,
            "ps_version": "v2",
            "select_layer": -1,
            "template": "plain",
        },
    )


def _llava_next(folder: Path) -> None:
    ids = tokenizer.write(folder, ("<image>",))
    pinpoints = [[56, 112], [112, 56], [112, 112], [168, 56], [56, 168]]
    _write(
        folder,
        "preprocessor_config",
        {
            "image_processor_type": "LlavaNextImageProcessor",
            "size": {"shortest_edge": _TILE},
            "crop_size": {"height": _TILE, "width": _TILE},
            "do_center_crop": True,
            "do_pad": True,
            "image_grid_pinpoints": pinpoints,
            **_PIXELS,
            **_HALF,
        },
    )
    _write(
        folder,
        "processor_config",
        {
            "processor_class": "LlavaNextProcessor",
            "patch_size": _PATCH,
            "vision_feature_select_strategy": "default",
            "num_additional_image_tokens": 1,
            "image_token": "<image>",
        },
    )
    _config(
        folder,
        ids,
        "LlavaNextForConditionalGeneration",
        "llava_next",
        {
            "text_config": {**_TEXT, "model_type": "llama", "vocab_size": _vocabulary(ids)},
            "vision_config": {**_VISION, "model_type": "clip_vision_model", "projection_dim": HIDDEN},
            "image_grid_pinpoints": pinpoints,
            "image_token_index": ids["<image>"],
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "default",
            "use_image_newline_parameter": True,
        },
    )


def _idefics3(folder: Path) -> None:
    rows = tuple(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7))
    marks = ("<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>", *rows)
    ids = tokenizer.write(folder, marks)
    _write(
        folder,
        "preprocessor_config",
        {
            "image_processor_type": "Idefics3ImageProcessor",
            "size": {"longest_edge": 4 * _TILE},
            "max_image_size": {"longest_edge": _TILE},
            "do_image_splitting": True,
            "do_pad": True,
            **_PIXELS,
            **_HALF,
        },
    )
    # 4x4 patches, shuffled into 2x2.
    _write(folder, "processor_config", {"processor_class": "Idefics3Processor", "image_seq_len": 4})
    _config(
        folder,
        ids,
        "Idefics3ForConditionalGeneration",
        "idefics3",
        {
            "text_config": {**_TEXT, "model_type": "llama", "vocab_size": _vocabulary(ids), "pad_token_id": 0},
            "vision_config": {**_VISION, "model_type": "idefics3_vision"},
            "scale_factor": 2,
            "image_token_id": ids["<image>"],
        },
    )


MODELS: dict[str, Callable[[Path], None]] = {
    "qwen2_vl": _qwen2_vl,
    "internvl": _internvl,
    "llava_next": _llava_next,
    "idefics3": _idefics3,
}
"""By the family that plans them."""


def make(name: str, folder: Path) -> None:
    """Write the checkpoint of a family into a folder, which is made."""
    folder.mkdir(parents=True)
    MODELS[name](folder)


def _config(folder: Path, ids: _Ids, architecture: str, kind: str, values: dict[str, Any]) -> None:
    common = {
        "architectures": [architecture],
        "model_type": kind,
        "torch_dtype": "float32",
        "vocab_size": _vocabulary(ids),
        "bos_token_id": ids[tokenizer.BEGIN],
        "eos_token_id": ids[tokenizer.END],
        "tie_word_embeddings": False,
    }
    _write(folder, "config", common | values)


def _vocabulary(ids: _Ids) -> int:
    return (len(ids) + 63) // 64 * 64


def _write(folder: Path, name: str, values: dict[str, Any]) -> None:
    (folder / f"{name}.json").write_text(json.dumps(values, indent=1))
