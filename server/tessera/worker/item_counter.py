"""Counts the tokens of media with vLLM's own processor for the model: for models whose rules nobody here knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from tessera.worker.bridge import vllm_name

# Small enough to cost little, and large enough for every processor.
_SIDE, _FRAMES, _SECONDS = 336, 4, 1


class ItemTokens(NamedTuple):
    """One item's.

    Attributes:
        written: tokens that the processor writes into the prompt, as ``usage`` counts them.
        target: tokens of the prompt that they take the place of.
    """

    written: int
    target: int


class ItemCounter:
    """For one engine. Its methods take as long as the processor does.

    Args:
        processor: of the model (vLLM's ``BaseMultiModalProcessor``).
        tokenizer: of the model.
    """

    def __init__(self, processor: Any, tokenizer: Any):
        self._processor = processor
        self._tokenizer = tokenizer

    def count(self, data: Mapping[str, Any], options: Mapping[str, Any]) -> ItemTokens:
        """What one item is.

        Args:
            data: the item by its modality, as vLLM's chat endpoint hands it over.
            options: the request's ``mm_processor_kwargs``.

        Raises:
            Exception: whatever the processor raises at an item that it refuses.
        """
        processor = self._processor
        [modality] = data
        text = processor.dummy_inputs.get_dummy_text({modality: 1})
        prompt = self._tokenizer.encode(text, **processor.info.default_tok_params.get_encode_kwargs())
        inputs = vllm_name("ProcessorInputs")(
            list(prompt), processor.info.parse_mm_data({modality: [data[modality]]}), hf_processor_mm_kwargs=options
        )
        made = processor.apply(inputs, vllm_name("TimingContext")(enabled=False))
        written = sum(place.length for place in made["mm_placeholders"][modality])
        return ItemTokens(written, len(prompt) + written - len(made["prompt_token_ids"]))

    def target(self, modality: str) -> int | None:
        """Tokens of the prompt that an item takes the place of; None: it cannot be told."""
        rate = getattr(getattr(self._processor.data_parser, "audio_resampler", None), "target_sr", None)
        try:
            return self.count({modality: _small(modality, int(rate or 16_000))}, {}).target
        except Exception:  # a model's own code; it stays uncounted
            return None


def _small(modality: str, rate: int) -> Any:
    from PIL import Image

    if modality == "image":
        return Image.fromarray(np.zeros((_SIDE, _SIDE, 3), np.uint8))
    if modality == "audio":
        return np.zeros(rate * _SECONDS, np.float32), rate
    indices = list(range(_FRAMES))
    described = {"total_num_frames": _FRAMES, "fps": float(_FRAMES), "duration": 1.0, "frames_indices": indices}
    described |= {"video_backend": "opencv", "do_sample_frames": False}
    return np.zeros((_FRAMES, _SIDE, _SIDE, 3), np.uint8), described
