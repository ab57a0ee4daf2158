"""Which token follows which in the corpus: the little language that the random model speaks.

A head of pure noise would print a soup of byte fragments. The logarithm of the bigram counts, factored into rows for
the embedding and rows for the head, makes neighbouring tokens fit each other (as in Levy and Goldberg, "Neural Word
Embedding as Implicit Matrix Factorization", 2014).
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


def factor_bigrams(counts: Array, rank: int, random: np.random.Generator) -> tuple[Array, Array]:
    """Return ``sources`` and ``targets``, of shape (vocabulary, rank), whose product is high for frequent bigrams.

    Rows of ``sources`` have a root mean square of 1, or are zero for a token that nothing follows.
    """
    rows, columns = np.flatnonzero(counts.any(axis=1)), np.flatnonzero(counts.any(axis=0))
    seen = counts[np.ix_(rows, columns)]
    # 100 makes a certain successor worth 4.6, a rare one (1 in 100) 0.7, and one that never follows 0.
    bonds = np.log1p(100.0 * seen / seen.sum(axis=1, keepdims=True))
    # Two nodes that build their own checkpoints must agree, or a request that moves between them changes its mind in
    # mid-sentence. Yet LAPACK is free in its choice among equal singular values, in the signs and in the last bits, and
    # chooses by processor and threads: so the values are made unequal, the signs fixed and the last bits rounded away.
    jitter = 1.0 + 0.05 * random.standard_normal(bonds.shape)
    left, strengths, right = np.linalg.svd(bonds * jitter, full_matrices=False)
    peaks = np.argmax(np.abs(left), axis=0)
    scales = np.sqrt(strengths) * np.sign(left[peaks, np.arange(len(peaks))])
    left, right = (left * scales)[:, :rank], (right.T * scales)[:, :rank]
    left /= np.sqrt(np.mean(left**2, axis=1, keepdims=True))
    sources, targets = np.zeros((len(counts), rank)), np.zeros((len(counts), rank))
    # Adding zero turns a negative zero into a positive one.
    sources[rows], targets[columns] = np.round(left, 3) + 0.0, np.round(right, 3) + 0.0
    return sources, targets
