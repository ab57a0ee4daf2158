"""Sizes of the model, and the JSON files that describe it to transformers and vLLM.

The files are written by hand, not through transformers' classes: building then needs neither transformers nor torch.
"""

from collections.abc import Callable
from typing import Any

from models.nano.tokenizer import END_OF_TEXT, END_OF_TURN, MEDIA_TOKENS

Json = dict[str, Any]

CONTEXT_LENGTH = 8192  # tokens, media included

# vLLM's attention on CPU needs heads of 32 dimensions or more, hence the ratios of hidden size to heads.
HIDDEN = 192
LAYERS = 4
HEADS = 6
KV_HEADS = 2
HEAD_DIM = HIDDEN // HEADS
INTERMEDIATE = 448
# Positions in time, height and width share the rotary pairs of a head (half of its dimensions), the fastest first. The
# width's pairs turn fast enough to tell neighbours apart; the slow rest lets attention go by content at any distance.
ROPE_BASE = 200.0
ROPE_SECTIONS = (2, 2, 12)

VISION_HIDDEN = 128
VISION_LAYERS = 4
VISION_HEADS = 4
VISION_INTERMEDIATE = 384
VISION_FULL_ATTENTION = (1, 3)  # the other layers look at windows of 112 pixels
PATCH = 14  # pixels
TEMPORAL_PATCH = 2  # frames
MERGE = 2  # patches a side that become one token

TOKENS_PER_SECOND = 25  # of sound; and by so much a second of a clip moves its positions on

AUDIO_HIDDEN = 128
AUDIO_LAYERS = 2
AUDIO_HEADS = 4
AUDIO_INTERMEDIATE = 256
MEL_BINS = 128

SAMPLE_RATE = 16_000  # Hz
# Whisper's extractor pads shorter sounds to this length, and cuts longer ones; Qwen2.5-Omni's own 300 s would cost a
# second of CPU a sound.
AUDIO_CHUNK = 10  # seconds
AUDIO_POSITIONS = AUDIO_CHUNK * 50

MIN_PIXELS = 112 * 112  # 16 tokens; smaller pictures are enlarged
MAX_PIXELS = 448 * 448  # 256 tokens
PIXELS = {"shortest_edge": MIN_PIXELS, "longest_edge": MAX_PIXELS}  # transformers' names for areas, not edges
CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
CLIP_STD = [0.26862954, 0.26130258, 0.27577711]


def model_config(vocabulary: int, token_id: Callable[[str], int | None]) -> Json:
    """Return ``config.json``; ``vocabulary`` is the number of rows of the embedding, in tokens."""
    return {
        "architectures": ["Qwen2_5OmniForConditionalGeneration"],
        "model_type": "qwen2_5_omni",
        "dtype": "bfloat16",
        "enable_audio_output": False,
        "enable_talker": False,
        "thinker_config": {
            "architectures": ["Qwen2_5OmniThinkerForConditionalGeneration"],
            "model_type": "qwen2_5_omni_thinker",
            "dtype": "bfloat16",
            "image_token_index": token_id(MEDIA_TOKENS["image_token"]),
            "video_token_index": token_id(MEDIA_TOKENS["video_token"]),
            "audio_token_index": token_id(MEDIA_TOKENS["audio_token"]),
            "vision_start_token_id": token_id(MEDIA_TOKENS["vision_bos_token"]),
            "vision_end_token_id": token_id(MEDIA_TOKENS["vision_eos_token"]),
            "audio_start_token_id": token_id(MEDIA_TOKENS["audio_bos_token"]),
            "audio_end_token_id": token_id(MEDIA_TOKENS["audio_eos_token"]),
            "user_token_id": token_id("user"),
            "bos_token_id": token_id(END_OF_TEXT),
            "eos_token_id": token_id(END_OF_TURN),
            "pad_token_id": token_id(END_OF_TEXT),
            "position_id_per_seconds": TOKENS_PER_SECOND,
            "seconds_per_chunk": 2,
            "tie_word_embeddings": False,
            "text_config": _text_config(vocabulary),
            "vision_config": _vision_config(),
            "audio_config": _audio_config(),
        },
    }


def _text_config(vocabulary: int) -> Json:
    return {
        "model_type": "qwen2_5_omni_text",
        "dtype": "bfloat16",
        "vocab_size": vocabulary,
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "max_position_embeddings": CONTEXT_LENGTH,
        "rope_theta": ROPE_BASE,
        "rope_scaling": {"type": "default", "rope_type": "default", "mrope_section": list(ROPE_SECTIONS)},
        "use_sliding_window": False,
        "tie_word_embeddings": False,
        "use_cache": True,
    }


def _vision_config() -> Json:
    return {
        "model_type": "qwen2_5_omni_vision_encoder",
        "dtype": "bfloat16",
        "depth": VISION_LAYERS,
        "embed_dim": VISION_HIDDEN,
        "hidden_size": VISION_HIDDEN,
        "intermediate_size": VISION_INTERMEDIATE,
        "num_heads": VISION_HEADS,
        "hidden_act": "silu",
        "in_channels": 3,
        "in_chans": 3,
        "patch_size": PATCH,
        "spatial_patch_size": PATCH,
        "temporal_patch_size": TEMPORAL_PATCH,
        "spatial_merge_size": MERGE,
        "window_size": 112,
        "fullatt_block_indexes": list(VISION_FULL_ATTENTION),
        "tokens_per_second": TOKENS_PER_SECOND,
        "out_hidden_size": HIDDEN,
    }


def _audio_config() -> Json:
    return {
        "model_type": "qwen2_5_omni_audio_encoder",
        "dtype": "bfloat16",
        "num_mel_bins": MEL_BINS,
        "encoder_layers": AUDIO_LAYERS,
        "num_hidden_layers": AUDIO_LAYERS,
        "encoder_attention_heads": AUDIO_HEADS,
        "encoder_ffn_dim": AUDIO_INTERMEDIATE,
        "d_model": AUDIO_HIDDEN,
        "activation_function": "gelu",
        "max_source_positions": AUDIO_POSITIONS,
        "n_window": 100,
        "output_dim": HIDDEN,
    }


def generation_config(token_id: Callable[[str], int | None]) -> Json:
    """Return ``generation_config.json``."""
    return {
        "eos_token_id": [token_id(END_OF_TURN), token_id(END_OF_TEXT)],
        "pad_token_id": token_id(END_OF_TEXT),
    }


def _pixel_config() -> Json:
    return {
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "do_convert_rgb": True,
        "rescale_factor": 1 / 255,
        "resample": 3,
        "image_mean": CLIP_MEAN,
        "image_std": CLIP_STD,
        "patch_size": PATCH,
        "temporal_patch_size": TEMPORAL_PATCH,
        "merge_size": MERGE,
        "min_pixels": MIN_PIXELS,
        "max_pixels": MAX_PIXELS,
        "size": PIXELS,
    }


def preprocessor_config() -> Json:
    """Return ``preprocessor_config.json``: image processor and Whisper's extractor in one, as in Qwen's checkpoints."""
    return {
        "processor_class": "Qwen2_5OmniProcessor",
        "image_processor_type": "Qwen2VLImageProcessor",
        "feature_extractor_type": "WhisperFeatureExtractor",
        **_pixel_config(),
        "feature_size": MEL_BINS,
        "sampling_rate": SAMPLE_RATE,
        "hop_length": 160,
        "n_fft": 400,
        "chunk_length": AUDIO_CHUNK,
        "n_samples": AUDIO_CHUNK * SAMPLE_RATE,
        "nb_max_frames": AUDIO_CHUNK * 100,
        "dither": 0.0,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": True,
    }


def video_preprocessor_config() -> Json:
    """Return ``video_preprocessor_config.json``."""
    return {
        "processor_class": "Qwen2_5OmniProcessor",
        "video_processor_type": "Qwen2VLVideoProcessor",
        **_pixel_config(),
        "min_frames": 2,
        "max_frames": 64,
        "do_sample_frames": False,
        "cap_pixels_per_frame": False,
    }
