"""The checkpoint's files, as vLLM and transformers load them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from models.nano import configuration as c
from models.nano.tokenizer import tokenizer_config
from tessera.worker import torch_compat
from tessera.worker.checkpoint import CHECKSUMS

PREFIX = "thinker."  # before the names of all tensors: in Qwen's checkpoints the thinker is one part of two
WEIGHTS = "model.safetensors"
FILES = (
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    WEIGHTS,
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "video_preprocessor_config.json",
)
_ROWS = 64  # the embedding is padded to a multiple of this many rows, as tensor parallelism wants it


def write_processor(folder: Path, tokenizer: Tokenizer) -> None:
    """Write everything but the weights."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = -(-tokenizer.get_vocab_size() // _ROWS) * _ROWS
    tokenizer.save(str(folder / "tokenizer.json"))
    shutil.copyfile(Path(__file__).parent / "chat_template.jinja", folder / "chat_template.jinja")
    _write_json(folder / "config.json", c.model_config(vocabulary, tokenizer.token_to_id))
    _write_json(folder / "generation_config.json", c.generation_config(tokenizer.token_to_id))
    _write_json(folder / "preprocessor_config.json", c.preprocessor_config())
    _write_json(folder / "video_preprocessor_config.json", c.video_preprocessor_config())
    _write_json(folder / "tokenizer_config.json", tokenizer_config(c.CONTEXT_LENGTH, c.PIXELS))


def write_weights(folder: Path, weights: Mapping[str, Tensor]) -> None:
    """Write the model's weights in bfloat16; the file is complete or not there."""
    tensors = {PREFIX + name: tensor.to(torch.bfloat16).contiguous() for name, tensor in weights.items()}
    partial = folder / f".{WEIGHTS}.partial"
    save_file(tensors, partial, metadata={"format": "pt"})
    partial.replace(folder / WEIGHTS)


def export(work: Path, out: Path) -> None:
    """Copy the checkpoint's files from the training's folder to ``out``, with their checksums."""
    out.mkdir(parents=True, exist_ok=True)
    sums = []
    for name in FILES:
        shutil.copyfile(work / name, out / name)
        sums.append(f"{hashlib.sha256((out / name).read_bytes()).hexdigest()}  {name}\n")
    (out / CHECKSUMS).write_text("".join(sums), encoding="utf-8")


def load_processor(folder: Path) -> Any:
    """The folder's ``Qwen2_5OmniProcessor``."""
    torch_compat.activate()
    from transformers import Qwen2_5OmniProcessor

    return Qwen2_5OmniProcessor.from_pretrained(folder)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
