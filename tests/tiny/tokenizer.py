"""A tokenizer of one token a byte."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

END, BEGIN = "<|endoftext|>", "<|im_start|>"
# What is said, and nothing around it.
CHAT_TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def write(folder: Path, special: tuple[str, ...]) -> dict[str, int]:
    """Write the tokenizer's files, and return the ids of all its tokens.

    Args:
        folder: of the checkpoint.
        special: further tokens that stand for themselves.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in (END, BEGIN, *special)]
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
                "model_max_length": 8192,
                "clean_up_tokenization_spaces": False,
            }
        )
    )
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    return dict(tokenizer.get_vocab(with_added_tokens=True))
