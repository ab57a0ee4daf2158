"""Processors that write text between their tiles, or have rules of their own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tests.plan.counting import REFUSED, Call, Counter, Letters, info, merged_kwargs

import numpy as np  # isort: skip


def idefics3(files: dict[str, Any]) -> dict[str, Counter]:
    from transformers.models.idefics3.image_processing_idefics3 import Idefics3ImageProcessor

    special = ("<image>",)
    processor = SimpleNamespace(
        image_processor=Idefics3ImageProcessor(**files["image"]),
        image_seq_len=files["processor"]["image_seq_len"],
        image_token="<image>", fake_image_token="<fake_token_around_image>", global_image_tag="<global-img>",
    )  # fmt: skip
    made = info("idefics3", "Idefics3ProcessingInfo", None, processor)

    def count(call: Call) -> int:
        width, height = call
        text = made.get_image_repl(image_width=width, image_height=height, processor=processor, mm_kwargs={})
        return len(Letters(*special).encode(text))

    return {"image": count}


def gemma3(files: dict[str, Any]) -> dict[str, Counter]:
    from transformers.models.gemma3.processing_gemma3 import Gemma3ProcessorKwargs

    tokens = files["processor"]["image_seq_length"]
    boi, soft, eoi = "<start_of_image>", "<image_soft_token>", "<end_of_image>"
    letters = Letters(soft)
    letters.init_kwargs, letters.image_token, letters.get_vocab = {}, soft, lambda: {soft: -1}
    merged = {**merged_kwargs(Gemma3ProcessorKwargs, {})["images_kwargs"], **files.get("options", {})}
    processor = SimpleNamespace(
        image_processor=SimpleNamespace(**dict.fromkeys(merged)),
        image_seq_length=tokens,
        tokenizer=letters,
        boi_token=boi,
        full_image_sequence=f"\n\n{boi}{soft * tokens}{eoi}\n\n",
        _merge_kwargs=lambda kind, **given: {"images_kwargs": merged},
    )
    made = info("gemma3_mm", "Gemma3ProcessingInfo", None, processor)

    def count(call: Call) -> int:
        width, height = call
        written = made.get_image_repl(image_width=width, image_height=height, processor=processor, mm_kwargs={})
        return len(written.full)

    return {"image": count}


class Sized:
    """A picture without pixels."""

    def __init__(self, width: int, height: int):
        self.size = (width, height)

    def crop(self, box: tuple[int, int, int, int]) -> Sized:
        return Sized(max(1, box[2] - box[0]), max(1, box[3] - box[1]))


def ovis(files: dict[str, Any]) -> dict[str, Counter]:
    from vllm.transformers_utils.processors import ovis as module

    visual = files["model"]["visual_tokenizer_config"]
    backbone = SimpleNamespace(**visual["backbone_config"])
    visual_config = SimpleNamespace(backbone_config=backbone, hidden_stride=visual["hidden_stride"])
    asked = info("ovis", "OvisProcessingInfo", SimpleNamespace(visual_tokenizer_config=visual_config))
    names = ("image_atom", "image_start", "image_prefix", "image_col_sep", "image_row_sep", "image_end", "image_pad")
    processor = object.__new__(module.OvisProcessor)
    processor.__dict__.update(
        image_segment_len=asked.get_image_segment_len(),
        image_processor=SimpleNamespace(
            size=files["image"]["size"], preprocess=lambda *given, **options: {"pixel_values": np.zeros((1, 3, 1, 1))}
        ),
        extra_special_tokens={name: place for place, name in enumerate(names)},
    )
    # The tiles' pixels, of which nothing depends on.
    module.torch = SimpleNamespace(
        zeros=lambda *given, **options: np.zeros((1, 3, 1, 1)), cat=lambda *given, **options: 0, tensor=id
    )

    def count(call: Call) -> Any:
        _, placeholders, _ = processor.preprocess_image(Sized(*call), 9, 0.9, False, "pt")
        return len(placeholders)

    return {"image": count}


def ovis2_5(files: dict[str, Any]) -> dict[str, Counter]:
    from vllm.transformers_utils.processors import ovis2_5 as module

    vit = files["model"]["vit_config"]
    names = ("visual_atom", "image_start", "image_end", "video_start", "video_end", "image_pad")
    processor = object.__new__(module.Ovis2_5Processor)
    processor.__dict__.update(**vit, extra_special_tokens={name: place for place, name in enumerate(names)})
    square = vit["patch_size"] * vit["hidden_stride"]
    module.print = lambda *given: None

    def count(frames: int, width: int, height: int) -> Any:
        high, wide = processor.smart_resize(height, width, factor=square)
        groups = -(-frames // vit["temporal_patch_size"])
        grid = [groups, high // vit["patch_size"], wide // vit["patch_size"]]
        return len(processor.construct_visual_placeholders(grid)) if high and wide else REFUSED

    return {"image": lambda call: count(1, *call), "video": lambda call: count(*call)}


def molmo(files: dict[str, Any]) -> dict[str, Counter]:
    processor = SimpleNamespace(**files["image"])
    made = info("molmo", "MolmoProcessingInfo", None)
    return {
        "image": lambda call: made.get_num_image_tokens(
            image_width=call[0], image_height=call[1], image_processor=processor
        )
    }


def phi4mm(files: dict[str, Any]) -> dict[str, Counter]:
    from transformers.models.phi4_multimodal.image_processing_phi4_multimodal import Phi4MultimodalImageProcessor

    # transformers' own processor chooses tiles as the checkpoint's does, whose code is not in a package.
    choose = Phi4MultimodalImageProcessor.find_closest_aspect_ratio
    tiles = SimpleNamespace(
        dynamic_hd=files["image"]["dynamic_hd"], find_closest_aspect_ratio=lambda *given: choose(None, *given)
    )
    config = SimpleNamespace(img_processor=None, embd_layer=files["model"]["embd_layer"])
    processor = SimpleNamespace(image_processor=tiles)
    made = info("phi4mm", "Phi4MMProcessingInfo", config, processor)
    rate = files["audio"]["sampling_rate"]
    return {
        "image": lambda call: made.get_num_image_tokens(image_width=call[0], image_height=call[1], processor=processor),
        "audio": lambda call: made._compute_audio_embed_size(made.get_audio_num_frames(call[0], rate)),
    }
