"""A tokenizer of one token a byte."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

END, BEGIN = "<|endoftext|>", "<|im_start|>"
# What is said, and nothing around it.
CHAT_TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def write(folder: Path, special: tuple[str, ...], *, pairs: str = "", longest: int = 8192) -> dict[str, int]:
    """Write the tokenizer's files, and return the ids of all its tokens.

    Args:
        folder: of the checkpoint.
        special: further tokens that stand for themselves.
        pairs: the one of them that stands behind each of two texts, ``BEGIN`` before both; without it, nothing does.
        longest: text, in tokens.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in (END, BEGIN, *special)]
    )
    if pairs:
        begin, mark = ((token, tokenizer.token_to_id(token)) for token in (BEGIN, pairs))
        single = f"{BEGIN}:0 $A:0 {pairs}:0"
        tokenizer.post_processor = processors.TemplateProcessing(
            single=single, pair=f"{single} $B:1 {pairs}:1", special_tokens=[begin, mark]
        )
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "bos_token": BEGIN,
                "eos_token": END,
                "pad_token": END,
                "add_bos_token": False,
                "model_max_length": longest,
                "clean_up_tokenization_spaces": False,
                "model_input_names": ["input_ids", *(["token_type_ids"] if pairs else []), "attention_mask"],
            }
        )
    )
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    return dict(tokenizer.get_vocab(with_added_tokens=True))
