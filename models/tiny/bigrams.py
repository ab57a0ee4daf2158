"""Which token follows which in the corpus: the little language that the random model speaks.

A head of pure noise would print a soup of byte fragments. The logarithm of the bigram counts, factored into rows for the embedding and rows for
the head (as in Levy and Goldberg, "Neural Word Embedding as Implicit Matrix Factorization", 2014), makes neighbouring tokens fit each other.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def count_bigrams(documents: list[list[int]], vocabulary: int) -> Array:
    """Return how often token j follows token i, as an array of shape (vocabulary, vocabulary)."""
    counts = np.zeros((vocabulary, vocabulary))
    for tokens in documents:
        np.add.at(counts, (tokens[:-1], tokens[1:]), 1.0)
    return counts


def factor_bigrams(counts: Array, rank: int) -> tuple[Array, Array]:
    """Return ``sources`` and ``targets``, both of shape (vocabulary, rank), whose product is high where a bigram is frequent.

    Rows of ``sources`` have a root mean square of 1, or are zero for a token that nothing follows.
    """
    chances = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    left, strengths, right = np.linalg.svd(np.log1p(100.0 * chances))
    sources = left[:, :rank] * np.sqrt(strengths[:rank])
    targets = right[:rank].T * np.sqrt(strengths[:rank])
    sizes = np.sqrt(np.mean(sources**2, axis=1, keepdims=True))
    return np.where(sizes > 1e-6, sources / np.maximum(sizes, 1e-6), 0.0), targets
