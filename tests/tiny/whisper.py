"""A Whisper of a few hundred thousand random weights, which hears clips of two seconds."""

from __future__ import annotations

import json
from pathlib import Path

from tessera.worker import torch_compat
from tests.tiny import tokenizer

ENGINE_ARGS = (
    "--dtype float32 --max-model-len 64 --max-num-seqs 8 "
    "--distributed-executor-backend vllm.v1.executor.uniproc_executor.UniProcExecutor"
)
CLIP_S = 2
# Encoded frames in a second, and hundredths of it in which its timestamps count.
_FRAMES_A_SECOND, _STEP = 50, 2
_HIDDEN, _HEADS, _LAYERS = 64, 2, 1
_LONGEST = 64
# With this one it tells times now and then.
_SEED = 12


def make_whisper(folder: Path) -> None:
    """Write the checkpoint into a folder, which is made."""
    torch_compat.activate()
    import torch
    from transformers import GenerationConfig, WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    folder.mkdir(parents=True)
    asked = ("<|startoftranscript|>", "<|transcribe|>", "<|translate|>", "<|notimestamps|>", "<|prev|>")
    times = tuple(f"<|{at / 100:.2f}|>" for at in range(0, CLIP_S * 100 + 1, _STEP))
    ids = tokenizer.write(folder, (*asked, *(f"<|{language}|>" for language in LANGUAGES), *times))
    WhisperFeatureExtractor(feature_size=80, chunk_length=CLIP_S).save_pretrained(folder)
    (folder / "processor_config.json").write_text(json.dumps({"processor_class": "WhisperProcessor"}))
    begin, end = ids["<|startoftranscript|>"], ids[tokenizer.END]
    known = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end, "decoder_start_token_id": begin}
    config = WhisperConfig(
        vocab_size=len(ids),
        num_mel_bins=80,
        d_model=_HIDDEN,
        encoder_layers=_LAYERS,
        decoder_layers=_LAYERS,
        encoder_attention_heads=_HEADS,
        decoder_attention_heads=_HEADS,
        encoder_ffn_dim=2 * _HIDDEN,
        decoder_ffn_dim=2 * _HIDDEN,
        max_source_positions=CLIP_S * _FRAMES_A_SECOND,
        max_target_positions=_LONGEST,
        # So that it says something else at every step.
        init_std=1.0,
        suppress_tokens=None,
        begin_suppress_tokens=None,
        **known,
    )
    torch.manual_seed(_SEED)
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(**known)
    model.save_pretrained(folder)
