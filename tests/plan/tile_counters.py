"""Processors that cut images into tiles of a grid, or take them as one square."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tests.plan.counting import REFUSED, Call, Counter, Letters, info


def internvl(files: dict[str, Any]) -> dict[str, Counter]:
    from vllm.transformers_utils.processors.internvl import InternVLImageProcessor, InternVLProcessor

    image, tokens = tiles(files, InternVLImageProcessor)
    letters = Letters("<img>", "</img>", "<IMG_CONTEXT>", "<|video_pad|>")
    processor = SimpleNamespace(
        image_processor=image, tokenizer=letters, image_seq_length=tokens,
        start_image_token="<img>", end_image_token="</img>", ctx_image_token="<IMG_CONTEXT>", ctx_image_token_id=-3,
        ctx_video_token="<|video_pad|>", ctx_video_token_id=-4,
    )  # fmt: skip
    processor.resolve_target_ratios = lambda **given: InternVLProcessor.resolve_target_ratios(processor, **given)

    def count(call: Call) -> int:
        width, height = call
        features = InternVLProcessor.get_num_image_tokens(processor, image_width=width, image_height=height)
        return len(InternVLProcessor.get_image_repl(processor, features // tokens, features).full)

    return {
        "image": count,
        "video": lambda call: len(InternVLProcessor.get_video_repl(processor, call[0]).full),
    }


def nvlm(files: dict[str, Any]) -> dict[str, Counter]:
    from vllm.transformers_utils.processors.internvl import InternVLImageProcessor, InternVLProcessor
    from vllm.transformers_utils.processors.nvlm_d import NVLMProcessor

    image, tokens = tiles(files, InternVLImageProcessor)
    processor = SimpleNamespace(
        image_processor=image, tokenizer=Letters("<|vision_pad|>"), image_seq_length=tokens,
        start_image_token="<Image>", end_image_token="</Image>",
        ctx_image_token="<|vision_pad|>", ctx_image_token_id=-1,
    )  # fmt: skip
    processor.resolve_target_ratios = lambda **given: InternVLProcessor.resolve_target_ratios(processor, **given)

    def count(call: Call) -> int:
        width, height = call
        features = InternVLProcessor.get_num_image_tokens(processor, image_width=width, image_height=height)
        written = NVLMProcessor.get_image_repl(processor, features // tokens, features).full
        return len(written) + len("\n")

    return {"image": count}


def tiles(files: dict[str, Any], kind: Any) -> tuple[Any, int]:
    model = files["model"]
    side = model["vision_config"]["image_size"]
    names = ("min_dynamic_patch", "max_dynamic_patch", "dynamic_image_size", "use_thumbnail")
    image = kind(image_size=side, **{name: model[name] for name in names})
    tokens = int((side // model["vision_config"]["patch_size"]) ** 2 * model["downsample_ratio"] ** 2)
    return image, tokens


def llava(files: dict[str, Any]) -> dict[str, Counter]:
    from transformers import LlavaConfig

    made = info("llava", "LlavaProcessingInfo", LlavaConfig(**files["model"]))
    return {"image": lambda call: made.get_num_image_tokens(image_width=call[0], image_height=call[1])}


def llava_next(files: dict[str, Any]) -> dict[str, Counter]:
    from transformers import LlavaNextConfig

    made = info("llava_next", "LlavaNextProcessingInfo", LlavaNextConfig(**files["model"]))
    return {"image": lambda call: made.get_num_image_tokens(image_width=call[0], image_height=call[1])}


def llava_onevision(files: dict[str, Any]) -> dict[str, Counter]:
    from transformers import LlavaOnevisionConfig

    made = info("llava_onevision", "LlavaOnevisionProcessingInfo", LlavaOnevisionConfig(**files["model"]))
    return {
        "image": lambda call: made.get_num_image_tokens(image_width=call[0], image_height=call[1]),
        "video": lambda call: made.get_num_video_tokens(num_frames=call[0], image_width=call[1], image_height=call[2]),
    }


def rows_of_patches(encoder: Any) -> Counter:
    def count(call: Call) -> Any:
        columns, rows = encoder.get_patch_grid_size(image_width=call[0], image_height=call[1])
        return (columns + 1) * rows if columns and rows else REFUSED

    return count


def pixtral(files: dict[str, Any]) -> dict[str, Counter]:
    from transformers import LlavaConfig
    from vllm.model_executor.models.pixtral import PixtralHFEncoderInfo

    return {"image": rows_of_patches(PixtralHFEncoderInfo(LlavaConfig(**files["model"])))}


def mistral3(files: dict[str, Any]) -> dict[str, Counter]:
    from transformers import Mistral3Config
    from vllm.model_executor.models.mistral3 import Mistral3HFEncoderInfo

    side = files["image"]["size"]["longest_edge"]
    return {"image": rows_of_patches(Mistral3HFEncoderInfo(Mistral3Config(**files["model"]), side))}
