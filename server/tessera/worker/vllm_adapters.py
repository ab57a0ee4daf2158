"""LoRA adapters in vLLM: loaded into its engine, and known to its application."""

from __future__ import annotations

from typing import Any

from tessera.queue import Adapter
from tessera.worker import bridge


class VllmAdapters:
    """Those of one engine; see ``worker.adapters.AdapterHost``.

    Args:
        client: vLLM's engine (``AsyncLLM``), started with ``--enable-lora``.
        models: what its application knows of them (``OpenAIServingModels``).
    """

    def __init__(self, client: Any, models: Any):
        self._client = client
        self._models = models
        self.most_rank: int = client.vllm_config.lora_config.max_lora_rank

    async def load(self, adapter: Adapter) -> None:
        """Load it; requests that run go on with what they began with.

        Not by vLLM's own ``load_lora_adapter``: it puts an adapter into the place of another one under the same number,
        and so into the middle of answers that run.
        """
        number = self._models.lora_id_counter.inc(1)
        # Older versions know of one format.
        format_of_experts = {"is_3d_lora_weight": True} if adapter.fused else {}
        request = bridge.vllm_name("LoRARequest")(adapter.name, number, adapter.path, **format_of_experts)
        await self._client.add_lora(request)
        self._models.lora_requests[adapter.name] = request

    def unload(self, name: str) -> None:
        """Give no further request to it; the engine drops it when it needs the room."""
        self._models.lora_requests.pop(name, None)

    def loaded(self) -> dict[str, str]:
        """Where the weights of each come from, by name."""
        return {name: request.lora_path for name, request in self._models.lora_requests.items()}


def adapters_of(client: Any, app: Any) -> VllmAdapters | None:
    """Those of a started engine and its application; None where it takes none."""
    models = getattr(app.state, "openai_serving_models", None)
    if client.vllm_config.lora_config is None or models is None:
        return None
    return VllmAdapters(client, models)
