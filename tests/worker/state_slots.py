"""How many requests vLLM's own cache manager gives room to: ``python -m tests.worker.state_slots BLOCKS``.

Of a state-space model, with texts of very different lengths. Prints that, and what ``bridge.state_slots`` says.
"""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import torch
from vllm.sampling_params import SamplingParams
from vllm.v1.core.kv_cache_manager import KVCacheManager
from vllm.v1.kv_cache_interface import KVCacheConfig, KVCacheGroupSpec, MambaSpec
from vllm.v1.request import Request

from tessera.worker import bridge

LENGTH = 4096


def admitted(blocks: int) -> list[int]:
    """Lengths of the texts that are given room, one after the other, and generate to the end."""
    spec = MambaSpec(block_size=LENGTH, shapes=((4, 4),), dtypes=(torch.float32,))
    config = KVCacheConfig(blocks, [], [KVCacheGroupSpec(["layer"], spec)])
    manager = KVCacheManager(config, LENGTH, LENGTH, LENGTH, enable_caching=False)
    lengths: list[int] = []
    while True:
        length = (7, LENGTH - 1, 900)[len(lengths) % 3]
        request = Request(str(len(lengths)), [1] * length, SamplingParams(max_tokens=1), None)
        if manager.allocate_slots(request, length) is None:
            return lengths
        request.num_computed_tokens = length
        if manager.allocate_slots(request, LENGTH - length) is None:
            raise SystemExit("the state has grown")
        lengths.append(length)


def said(blocks: int) -> int | None:
    return bridge.state_slots(
        SimpleNamespace(
            model_config=SimpleNamespace(is_attention_free=True),
            cache_config=SimpleNamespace(num_gpu_blocks=blocks, mamba_cache_mode="none"),
            parallel_config=SimpleNamespace(data_parallel_size=1),
            num_speculative_tokens=0,
        )
    )


if __name__ == "__main__":
    number = int(sys.argv[1])
    print(json.dumps([len(admitted(number)), said(number)]))
