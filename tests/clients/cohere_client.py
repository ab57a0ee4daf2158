"""Cohere's own client, its second version."""

from __future__ import annotations

import base64
import struct

import cohere
from trial import Trial, refused

trial = Trial()
client = cohere.ClientV2(api_key="none", base_url=trial.reader_url, max_retries=0)
TEXTS = ["A cat sleeps on the sofa.", "The kitten is napping on the couch.", "Share prices fell sharply."]


@trial.of("reranking")
def reranking() -> None:
    ranked = client.rerank(model=trial.reader, query="Money", documents=TEXTS, top_n=2)
    first, second = ranked.results
    assert first.index == 2
    assert first.relevance_score > second.relevance_score


@trial.of("embeddings")
def embeddings() -> None:
    # The model has no instructions for types of input.
    types = ["float", "base64", "binary"]
    made = client.embed(model=trial.reader, texts=TEXTS, input_type=None, embedding_types=types)
    cat, kitten, shares = made.embeddings.float_
    assert len(cat) == 384
    assert dot(cat, kitten) > 0.6 > 0.15 > dot(cat, shares)
    packed = struct.unpack("<384f", base64.b64decode(made.embeddings.base64[0]))
    assert all(abs(one - other) < 1e-6 for one, other in zip(packed, cat, strict=True))
    assert [len(bits) for bits in made.embeddings.binary] == [48] * 3
    assert made.texts == TEXTS
    assert made.meta.billed_units.input_tokens > 0


@trial.of("errors")
def errors() -> None:
    refusal = refused(cohere.NotFoundError, lambda: client.rerank(model="another", query="Money", documents=TEXTS))
    assert refusal.body["error"]["code"] == "model_not_found"


def dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


if __name__ == "__main__":
    trial.run()
