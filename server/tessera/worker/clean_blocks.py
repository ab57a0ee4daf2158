"""Has vLLM zero the blocks of its KV cache as it gives them to a request: nothing of an earlier request stays in them.

Attention reads whole blocks and weighs what lies behind a request's last token with zero. Zero times NaN is NaN: one
request whose values overflowed would spoil the answers of those that get its blocks later. vLLM 0.32 zeroes blocks for
models that read state before they have written it (``KVCacheConfig.needs_kv_cache_zeroing``); here it does for all.
vLLM calls ``activate`` in each of its processes, as a plug-in of the group ``vllm.general_plugins``.
"""

from __future__ import annotations

import logging

from tessera.worker.bridge import vllm_name


def activate() -> None:
    """Switch zeroing on, for models of every kind; where this vLLM has no such switch, say so."""
    config = vllm_name("KVCacheConfig")
    if not hasattr(config, "needs_kv_cache_zeroing"):
        logging.getLogger("vllm").warning("This vLLM cannot zero KV-cache blocks: a NaN may outlive its request.")
        return
    config.needs_kv_cache_zeroing = property(lambda self: True)
