"""BERTs of some thousand random weights that read a text, or two of them: classifiers, with one label rerankers."""

from __future__ import annotations

from pathlib import Path

from tessera.worker import torch_compat
from tests.tiny import tokenizer

ENGINE_ARGS = (
    "--dtype float32 --max-num-seqs 8 --distributed-executor-backend vllm.v1.executor.uniproc_executor.UniProcExecutor"
)
LONGEST = 256
_HIDDEN, _HEADS, _LAYERS = 64, 2, 1


def make_classifier(folder: Path, *, labels: tuple[str, ...]) -> None:
    """Write the checkpoint into a folder, which is made."""
    torch_compat.activate()
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    folder.mkdir(parents=True)
    ids = tokenizer.write(folder, ("[SEP]",), pairs="[SEP]", longest=LONGEST)
    config = BertConfig(
        vocab_size=len(ids),
        hidden_size=_HIDDEN,
        intermediate_size=2 * _HIDDEN,
        num_hidden_layers=_LAYERS,
        num_attention_heads=_HEADS,
        max_position_embeddings=LONGEST,
        pad_token_id=ids[tokenizer.END],
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
        # So that texts differ in what comes of them.
        initializer_range=0.5,
    )
    torch.manual_seed(len(labels))
    BertForSequenceClassification(config).save_pretrained(folder)
