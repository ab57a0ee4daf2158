"""What is known of each tenant's batches, in Redis."""

from tessera.batches.record import ENDED, Batch, Problem, encode_problems, new_batch_id
from tessera.batches.shelf import KINDS, Claim, Lost, Progress, Shelf

__all__ = [
    "ENDED",
    "KINDS",
    "Batch",
    "Claim",
    "Lost",
    "Problem",
    "Progress",
    "Shelf",
    "encode_problems",
    "new_batch_id",
]
