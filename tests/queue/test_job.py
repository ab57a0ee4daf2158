from __future__ import annotations

from tessera.queue import Job, Lease, new_job_id


def test_ids_are_unique_and_begin_with_that_of_the_request() -> None:
    ids = {new_job_id("request") for _ in range(1000)}
    assert len(ids) == 1000
    assert {(job_id[:8], len(job_id)) for job_id in ids} == {("request-", 40)}


def test_a_lease_holds_the_job_that_was_enqueued() -> None:
    job = Job("i", "m", "/v1/completions", b"\x00\xff", 4, hide_usage=True, stream=True)
    reply = [b"i", 1764000000000, 2, 30, 4, job.meta(), job.body, 5, 3]
    assert Lease.parse("m", reply) == Lease(job, epoch=1764000000000, attempts=2, wait_ms=30, written=5, width=3)
