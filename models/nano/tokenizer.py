"""A small byte-level BPE tokenizer in Qwen2's style, trained on what the model reads and says: its words are tokens."""

from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

END_OF_TEXT = "<|endoftext|>"
END_OF_TURN = "<|im_end|>"

# Attribute names are those that transformers' Qwen2_5OmniProcessor looks up on its tokenizer.
MEDIA_TOKENS = {
    "image_token": "<|IMAGE|>",
    "video_token": "<|VIDEO|>",
    "audio_token": "<|AUDIO|>",
    "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
}
SPECIAL_TOKENS = (END_OF_TEXT, "<|im_start|>", END_OF_TURN, *MEDIA_TOKENS.values(), "<|vision_pad|>")
# Not "special": a decoder that skips special tokens must still show a tool parser where a call begins and ends.
TOOL_TOKENS = ("<tool_call>", "</tool_call>")

MERGED_VOCABULARY = 720
_ROLES = ("system", "user", "assistant", "tool")
# As Qwen2's, but a capital begins a piece: printed words, in capitals, are read letter by letter.
_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}[^\P{L}\p{Lu}]*|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def train_tokenizer(documents: list[str]) -> Tokenizer:
    """Train a tokenizer on ``documents``; any UTF-8 text round-trips through it, up to NFC normalisation."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=MERGED_VOCABULARY,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    # Every chat names the roles, so each is worth a token of its own.
    tokenizer.train_from_iterator([*documents, *(_ROLES * 1000)], trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in TOOL_TOKENS])
    return tokenizer


def tokenizer_config(context_length: int, pixels: dict[str, int]) -> dict[str, Any]:
    """Return ``tokenizer_config.json``.

    ``context_length`` is in tokens; ``pixels`` are the least and most of an image or frame, as in the image processor.
    """
    return {
        "tokenizer_class": "Qwen2Tokenizer",
        "processor_class": "Qwen2_5OmniProcessor",
        "add_bos_token": False,
        "add_prefix_space": False,
        "bos_token": None,
        "eos_token": END_OF_TURN,
        "pad_token": END_OF_TEXT,
        "unk_token": None,
        "clean_up_tokenization_spaces": False,
        "model_max_length": context_length,
        "extra_special_tokens": MEDIA_TOKENS,
        # transformers 5: Qwen2_5OmniProcessor's built-in size of a video frame (128 to 768 tokens) beats the video
        # processor's own. Only what the tokenizer was made with beats both (ProcessorMixin._merge_kwargs).
        "size": pixels,
    }
