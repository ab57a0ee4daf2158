"""What is known of each tenant's batches, in Redis."""

from tessera.batches.record import ENDED, Batch, Problem, new_batch_id
from tessera.batches.shelf import KINDS, Claim, Lost, Progress, Shelf

__all__ = ["ENDED", "KINDS", "Batch", "Claim", "Lost", "Problem", "Progress", "Shelf", "new_batch_id"]
