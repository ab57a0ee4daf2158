"""Qwen's processors, asked without pixels: torch's ``meta`` device has tensors without content."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from tests.plan.counting import REFUSED, Call, Counter, merged_kwargs

import numpy as np  # isort: skip
import torch  # isort: skip
from transformers import WhisperFeatureExtractor  # isort: skip
from transformers.image_processing_backends import TorchvisionBackend  # isort: skip


def no_pixels(self: Any, image: torch.Tensor, size: Any, **options: Any) -> torch.Tensor:
    return image.new_empty((*image.shape[:-2], size.height, size.width))


# What resizes pixels once the processor has decided on their size.
TorchvisionBackend.resize = no_pixels  # type: ignore[method-assign]


def frames(count: int, width: int, height: int) -> torch.Tensor:
    return torch.empty((count, 3, height, width), dtype=torch.uint8, device="meta")


def image_grid(processor: Any, width: int, height: int) -> list[int]:
    """What ``_preprocess`` makes of the size: the steps that decide it."""
    factor = processor.patch_size * processor.merge_size
    resized = processor.resize(frames(1, width, height), processor_size(processor), processor.resample, factor)
    _, *grid = processor.patchify(resized, processor.patch_size, processor.merge_size, processor.temporal_patch_size)
    return [1, *grid]


def processor_size(processor: Any, **bounds: int) -> Any:
    from transformers.image_utils import SizeDict

    return SizeDict(**{**dict(processor.size), **bounds})


def video_grid(processor: Any, count: int, width: int, height: int, size: Any = None) -> list[int]:
    factor = processor.patch_size * processor.merge_size
    resized = processor.resize(
        frames(count, width, height)[None],
        size or processor_size(processor),
        processor.resample,
        factor,
        temporal_factor=processor.temporal_patch_size,
        cap_pixels_per_frame=processor.cap_pixels_per_frame,
    )
    _, *grid = processor.patchify(resized, processor.patch_size, processor.merge_size, processor.temporal_patch_size)
    return list(grid)


def merged(grid: Sequence[int], merge_size: int) -> int:
    return int(np.prod(grid)) // merge_size**2


def qwen_vl(files: dict[str, Any]) -> dict[str, Counter]:
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor
    from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

    image, video = Qwen2VLImageProcessor(**files["image"]), Qwen2VLVideoProcessor(**files["video"])
    return {
        "image": lambda call: merged(image_grid(image, *call), image.merge_size),
        "video": lambda call: merged(video_grid(video, *call), video.merge_size),
    }


def qwen3_vl(files: dict[str, Any]) -> dict[str, Counter]:
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor
    from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor
    from vllm.model_executor.models.qwen3_vl import Qwen3VLMultiModalProcessor, Qwen3VLProcessingInfo

    image, video = Qwen2VLImageProcessor(**files["image"]), Qwen3VLVideoProcessor(**files["video"])
    info = SimpleNamespace(get_video_processor=lambda: video)
    info._calculate_timestamps = lambda *given: Qwen3VLProcessingInfo._calculate_timestamps(info, *given)
    # One token a letter: that counts what is written, whatever a model's own tokenizer makes of it.
    tokenizer = SimpleNamespace(encode=lambda text, add_special_tokens: list(text))

    def count(call: Call) -> int:
        indices, fps, width, height = call
        grid = video_grid(video, len(indices), width, height)
        times = Qwen3VLProcessingInfo._get_video_second_idx(info, {"frames_indices": indices, "fps": fps})
        written = Qwen3VLMultiModalProcessor.get_video_repl(
            tokens_per_frame=[merged(grid[1:], video.merge_size)] * grid[0],
            timestamps=times,
            tokenizer=tokenizer,
            vision_start_token_id=1,
            vision_end_token_id=2,
            video_token_id=3,
        )
        return len(written.full)

    return {"image": lambda call: merged(image_grid(image, *call), image.merge_size), "video": count}


def qwen25_omni(files: dict[str, Any]) -> dict[str, Counter]:
    from transformers.models.qwen2_5_omni.processing_qwen2_5_omni import Qwen2_5OmniProcessorKwargs
    from vllm.model_executor.models.qwen2_5_omni_thinker import Qwen2_5OmniThinkerMultiModalProcessor
    from vllm.model_executor.models.qwen2_audio import _get_feat_extract_output_lengths

    heard = feature_lengths(WhisperFeatureExtractor(**files["audio"]))

    def audio(call: Call) -> int:
        [samples] = call
        return int(_get_feat_extract_output_lengths(heard(samples))[1]) or REFUSED

    def together(grid: Sequence[int], sound: int) -> int:
        thinker = SimpleNamespace(
            audio_token_index=1, video_token_index=2, audio_start_token_id=3, audio_end_token_id=4, seconds_per_chunk=2,
            vision_config=SimpleNamespace(spatial_merge_size=files["image"]["merge_size"], tokens_per_second=25),
        )  # fmt: skip
        write = Qwen2_5OmniThinkerMultiModalProcessor.omni_get_updates_use_audio_in_video
        return len(write(thinker, sound, grid, 1.0))

    return omni(files, Qwen2_5OmniProcessorKwargs, audio, together)


def qwen3_omni(files: dict[str, Any]) -> dict[str, Counter]:
    from transformers.models.qwen3_omni_moe.processing_qwen3_omni_moe import Qwen3OmniMoeProcessorKwargs
    from vllm.model_executor.models.qwen3_omni_moe_thinker import (
        Qwen3OmniMoeThinkerMultiModalProcessor,
        _get_feat_extract_output_lengths,
    )

    hop = files["audio"]["hop_length"]

    def audio(call: Call) -> int:
        [samples] = call
        # As `_get_hf_mm_inputs` fills up and `_postprocess_hf_mm_data` counts.
        padded = samples + -samples % hop
        return int(_get_feat_extract_output_lengths(torch.tensor(padded // hop))) or REFUSED

    def together(grid: Sequence[int], sound: int) -> int:
        thinker = SimpleNamespace(
            audio_token_id=1, video_token_id=2, audio_start_token_id=3, audio_end_token_id=4,
            position_id_per_seconds=13,
            vision_config=SimpleNamespace(spatial_merge_size=files["image"]["merge_size"]),
        )  # fmt: skip
        write = Qwen3OmniMoeThinkerMultiModalProcessor.get_updates_use_audio_in_video
        return len(write(None, thinker, sound, grid, 2.0))

    return omni(files, Qwen3OmniMoeProcessorKwargs, audio, together)


def omni(
    files: dict[str, Any], kwargs: Any, audio: Counter, together: Callable[[Sequence[int], int], int]
) -> dict[str, Counter]:
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor
    from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

    image, video = Qwen2VLImageProcessor(**files["image"]), Qwen2VLVideoProcessor(**files["video"])
    asked = merged_kwargs(kwargs, files.get("tokenizer", {}), image_processor=image, video_processor=video)
    size = processor_size(video, **asked["videos_kwargs"]["size"])
    image.size = processor_size(image, **asked["images_kwargs"].get("size", {}))

    def with_sound(call: Call) -> Any:
        count, width, height, samples = call
        grid, sound = video_grid(video, count, width, height, size), audio([samples])
        return REFUSED if sound is REFUSED else together(grid, sound)

    return {
        "image": lambda call: merged(image_grid(image, *call), image.merge_size),
        "video": lambda call: merged(video_grid(video, *call, size), video.merge_size),
        "audio": audio,
        "sound": with_sound,
    }


def feature_lengths(extractor: WhisperFeatureExtractor) -> Callable[[int], torch.Tensor]:
    """The length that its attention mask has, without a spectrogram."""
    extractor._torch_extract_fbank_features = lambda waveform, device: waveform  # type: ignore[method-assign]

    def length(samples: int) -> torch.Tensor:
        made = extractor(
            np.zeros(samples, dtype=np.float32), sampling_rate=extractor.sampling_rate, return_attention_mask=True
        )
        return torch.as_tensor(made["attention_mask"]).sum(-1)[0]

    return length


def qwen_audio(files: dict[str, Any]) -> dict[str, Counter]:
    from vllm.model_executor.models.qwen2_audio import _get_feat_extract_output_lengths

    heard = feature_lengths(WhisperFeatureExtractor(**files["audio"]))
    return {"audio": lambda call: int(_get_feat_extract_output_lengths(heard(*call))[1]) or REFUSED}
