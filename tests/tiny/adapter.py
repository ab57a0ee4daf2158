"""A LoRA adapter of random weights, in PEFT's files, for the text side of a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

from tests.tiny.checkpoints import HIDDEN

MODEL = "idefics3"
RANK = 4


def make_adapter(folder: Path, *, rank: int = RANK, seed: int = 1) -> None:
    """Write an adapter for the ``MODEL`` of ``checkpoints`` into a folder, which is made.

    Args:
        seed: another one makes another adapter.
    """
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    chance = torch.Generator().manual_seed(seed)
    weights = {}
    for module in ("q_proj", "v_proj", "o_proj"):
        name = f"base_model.model.model.text_model.layers.0.self_attn.{module}"
        # Larger than those that are trained: the weights of the model itself are next to nothing.
        weights[f"{name}.lora_A.weight"] = torch.randn(rank, HIDDEN, generator=chance)
        weights[f"{name}.lora_B.weight"] = torch.randn(HIDDEN, rank, generator=chance)
    save_file(weights, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": MODEL,
        "r": rank,
        "lora_alpha": 2 * rank,
        "target_modules": ["q_proj", "v_proj", "o_proj"],
        "bias": "none",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
