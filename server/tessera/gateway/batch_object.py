"""Batches as OpenAI's API shows them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pydantic import BaseModel, Field

from tessera.batches import ENDED, Batch


class BatchProblem(BaseModel):
    """Why a batch was not begun, or why one of its files is missing."""

    code: str
    message: str
    param: str | None
    line: int | None = Field(description="Of the input file, from 1 on.")


class BatchProblems(BaseModel):
    """All that was found, up to some number."""

    object: str = "list"
    data: list[BatchProblem]


class BatchCounts(BaseModel):
    """Requests of a batch."""

    total: int = Field(description="0 until the input was looked over.")
    completed: int
    failed: int


class BatchObject(BaseModel):
    """A batch. Times are Unix times in seconds, null until they have come."""

    id: str
    object: str = "batch"
    endpoint: str
    errors: BatchProblems | None
    input_file_id: str
    completion_window: str = "24h"
    status: str = Field(
        description="`validating`, `failed`, `in_progress`, `finalizing`, `completed`, `expired`, `cancelling` or "
        "`cancelled`."
    )
    output_file_id: str | None = Field(description="Its answers, once it has ended and if there are any.")
    error_file_id: str | None = Field(description="The requests that failed, likewise.")
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: BatchCounts
    metadata: dict[str, str] | None

    @classmethod
    def of(cls, batch: Batch) -> BatchObject:
        """As clients see it."""
        names = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
        times: dict[str, Any] = {f"{name}_at": batch.times.get(name) for name in names}
        problems = [BatchProblem(**asdict(problem)) for problem in batch.problems]
        # An id is noted before its file is whole.
        shown = batch.status in ENDED
        return cls(
            id=batch.id,
            endpoint=batch.endpoint,
            errors=BatchProblems(data=problems) if problems else None,
            input_file_id=batch.input_file_id,
            status=batch.status,
            output_file_id=(batch.output_file_id or None) if shown else None,
            error_file_id=(batch.error_file_id or None) if shown else None,
            created_at=batch.created_s,
            expires_at=batch.expires_s,
            request_counts=BatchCounts(total=batch.total, completed=batch.completed, failed=batch.failed),
            metadata=batch.metadata,
            **times,
        )


class BatchList(BaseModel):
    """Some of the batches."""

    object: str = "list"
    data: list[BatchObject]
    first_id: str | None
    last_id: str | None
    has_more: bool
