"""What can go wrong with batches."""

from __future__ import annotations

from tessera.errors.base import TesseraError
from tessera.errors.rejections import InvalidRequest


class BatchMissing(InvalidRequest):
    """The tenant has no batch of that id, or no longer."""

    status = 404
    code = "batch_not_found"


class BatchNotCancellable(InvalidRequest):
    """The batch has ended, or is about to."""

    status = 409
    code = "batch_not_cancellable"


class BatchesQuotaExceeded(TesseraError):
    """The tenant has as many batches that have not ended as it may."""

    status = 429
    type = "rate_limit_error"
    code = "batches_quota_exceeded"
