"""transformers' Qwen2.5-Omni thinker, made fast enough to be trained on a CPU.

Nothing here changes what the model computes; three things are computed in another way. The patch embedding, a Conv3d
whose stride is its kernel, is applied as the linear layer that it is (its backward pass on CPU is many times faster).
Attention within the many windows of a batch goes by equal lengths at once, instead of one by one. And the language
model takes a packed batch: examples one after the other, each with branches that do not see each other.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from models.nano import configuration as c
from models.nano.checkpoint import PREFIX, WEIGHTS
from tessera.worker import torch_compat

torch_compat.activate()  # before transformers looks for torchvision
from transformers import (  # noqa: E402
    GenerationConfig,
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
)
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS  # noqa: E402

# transformers passes the boundaries of sequences only to attention that has this word in its name.
_PACKED = "packed_flash_attention"
_BRANCHING = "branching_attention"
# Of sequences of up to so many patches, so many are computed at once, or a multiple: on a CPU, each new shape of a
# multiplication is compiled first, and the compiled ones fill the memory.
_SHORT, _ROUNDED_TO = 64, 8
_HIDDEN = -1e4  # added to the score of a token that is not seen


class Visible:
    """Which tokens see which, in a packed batch.

    An object of its own, which the compiler passes through; it would compile anew for each list of shapes.

    Args:
        masks: for each example, token (row) sees token (column), shape (length, length).

    Attributes:
        biases: for each example, what is added to the scores of the heads that share a key: 0 for a token that is seen,
            else so little that it counts nothing; shape (heads a key · length, length).
    """

    def __init__(self, masks: Sequence[Tensor]):
        self.biases = [torch.where(mask, 0.0, _HIDDEN).repeat(c.HEADS // c.KV_HEADS, 1) for mask in masks]


def read_config(folder: Path) -> Qwen2_5OmniThinkerConfig:
    """The configuration of a checkpoint's thinker."""
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return Qwen2_5OmniThinkerConfig(**content["thinker_config"])


def new_model(folder: Path) -> Qwen2_5OmniThinkerForConditionalGeneration:
    """A model with random weights, of the configuration in ``folder``, ready to be trained."""
    config = read_config(folder)
    config._attn_implementation = "sdpa"
    # The configuration's precision is that of the shipped weights; to learn in it would lose small steps.
    model = Qwen2_5OmniThinkerForConditionalGeneration(config).float()
    model.visual.patch_embed = _LinearPatchEmbedding(model.visual.patch_embed)
    ALL_ATTENTION_FUNCTIONS.register(_PACKED, _packed_attention)
    ALL_ATTENTION_FUNCTIONS.register(_BRANCHING, _branching_attention)
    model.model.config._attn_implementation_internal = _BRANCHING
    for tower in (model.visual, model.audio_tower):
        tower.config._attn_implementation_internal = _PACKED
    return model


def load_model(folder: Path) -> Qwen2_5OmniThinkerForConditionalGeneration:
    """The model of a checkpoint, in float32, exactly as transformers computes it."""
    config = read_config(folder)
    config._attn_implementation = "sdpa"
    model = Qwen2_5OmniThinkerForConditionalGeneration(config).float()
    weights = load_file(folder / WEIGHTS)
    model.load_state_dict({name.removeprefix(PREFIX): tensor.float() for name, tensor in weights.items()})
    model.generation_config = GenerationConfig.from_pretrained(folder)
    return model


class _LinearPatchEmbedding(nn.Module):
    """The patch embedding's weights, under their name, applied to (patches, inputs)."""

    def __init__(self, embedding: Any):
        super().__init__()
        self.proj = embedding.proj

    def forward(self, patches: Tensor) -> Tensor:
        weight = self.proj.weight
        return functional.linear(patches.to(weight.dtype), weight.flatten(1))


@torch.compiler.disable
def _branching_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Visible,
    *,
    scaling: float,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention within each example of a packed batch: (1, heads, tokens, size) to (1, tokens, heads, size).

    Args:
        attention_mask: what each example's tokens see.
    """
    heads, size = query.shape[1], query.shape[3]
    groups = key.shape[1]  # of heads that share a key
    lengths = [bias.shape[1] for bias in attention_mask.biases]
    queries = (query[0] * scaling).split(lengths, dim=1)
    outputs = []
    for q, k, v, bias in zip(
        queries, key[0].split(lengths, 1), value[0].split(lengths, 1), attention_mask.biases, strict=True
    ):
        scores = torch.baddbmm(bias, q.reshape(groups, -1, size), k.transpose(1, 2))
        output = scores.softmax(-1).to(v.dtype) @ v
        outputs.append(output.view(heads, -1, size).transpose(0, 1))
    return torch.cat(outputs)[None], None


@torch.compiler.disable
def _packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    *,
    cu_seq_lens_q: Tensor,
    scaling: float,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention within each sequence of a packed batch: (1, heads, tokens, size) to (1, tokens, heads, size)."""
    heads, size = query.shape[1], query.shape[3]
    packed = torch.stack([query[0] * scaling, key[0], value[0]]).transpose(1, 2)  # (3, tokens, heads, size)
    lengths = cu_seq_lens_q[1:] - cu_seq_lens_q[:-1]
    outputs, order = [], []
    for length in lengths.unique().tolist():
        starts = cu_seq_lens_q[:-1][lengths == length]
        index = (starts[:, None] + torch.arange(length, device=starts.device)).flatten()
        blanks = -len(starts) % _ROUNDED_TO if length <= _SHORT else 0
        group = packed.index_select(1, functional.pad(index, (0, blanks * length)))
        queries, keys, values = group.view(3, -1, length, heads, size).transpose(2, 3).unbind()
        weights = (queries @ keys.transpose(2, 3)).softmax(-1)
        output = (weights.to(values.dtype) @ values).transpose(1, 2).reshape(-1, heads, size)
        outputs.append(output[: len(index)])
        order.append(index)
    place = torch.empty_like(joined := torch.cat(order))
    place[joined] = torch.arange(len(joined), device=joined.device)
    return torch.cat(outputs).index_select(0, place)[None], None
