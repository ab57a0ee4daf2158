"""Histories of many workers and gateways at random, checked after each step against a model of what must hold.

- A job is in one place: it waits, is leased, or has ended; and what has ended stays as it is.
- Waiting jobs are taken in the order of their arrival, as many as fit; one that is given back keeps its place.
- Of those that were given out before, one is taken in a call (there are never so many here that it would be more).
- Jobs of batches are taken when nobody else waits, up to what they may take up of a worker; those that do not fit are
  passed by others of them, by a bounded number and for a bounded time, and by all people.
- A job that does not fit is passed by those behind it, by a bounded number and for a bounded time. Then one worker
  takes nothing else until it fits; there is one such worker at the most, and it may die as any other.
- An epoch is given out once, and they rise. Only who holds a job by its newest epoch can write, renew or give it back.
- A worker whose lease ran out holds its job again, by the same epoch, if it is heard of before another has taken it.
- Entries of a reply are never lost, written twice or in another order.
- A worker dies under a job when its engine fails, or when it falls silent and has not been heard of since. Another one
  gets the job then, with all that was written of its reply. When but one more of ``TESSERA_MAX_ATTEMPTS`` may die, the
  job is a suspect: it waits behind all others and runs alone, and they pass it as they pass one that is too wide; but
  an idle worker takes it at once where no other suspect runs alone.
- Deaths that a job has outlived count no longer: its reply has got further, by some entries, or it has run longer than
  with any worker that died under it. It need not run alone any more then. Twice as many may die under it in all.
- A job is set aside when the last of these workers died under it alone, never otherwise; it is kept as a dead letter,
  with its body and its deaths, until there are too many or it is dropped. What is enqueued from it is a new job.
- Steps are kept once for each entry that they led to, as long as the job may be gone on with, and no longer.
- A job ends with its gateway, unless it is to last, and a gateway's set holds what would end with it.
- Whoever reads what was cancelled or given up finds out.
- Of requests with one idempotency key one runs, and the others get its answer, unless it was cancelled or
  given up, but as poison.
- What bodies take is counted for each job that waits or runs, and for no other; beyond the budget none is taken.
- What replies and the steps that led to them take is counted. Beyond the budget replies of jobs that have ended are
  dropped, and no other; where that is not enough, running jobs have to wait, all but one, and any can end.
- What is damaged is forgotten, and nothing else: here the record of a worker's last claim; `test_damage` has the rest.
- A key of the queue that is overwritten, or deleted, is made anew, and no job is lost by that or loses its place.
- Any call may be repeated, may have its answer lost, and may arrive late, when it changes nothing any more.
- Whatever happened, one worker brings what is left to its end.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tessera.errors import IdempotencyKeyReused, QueueBytesFull, QueueUnavailable
from tessera.queue import Append, DeadLetters, End, Failure, Job, Lease, Leases, Once, connect
from tessera.queue.entry import decode
from tessera.queue.keys import Keys
from tessera.settings import Settings
from tests.queue.corner import depth_of
from tests.queue.unreliable import UnreliableBroker

MODEL = "m"
CAPACITY = 4
# What jobs of batches may take up of it.
BATCH_ROOM = 2
MOST_DEAD = 2
MOST_PASSED = 1
MOST_WAITING = 6
GATEWAYS = ("g0", "g1")
# Of bodies; jobs of five bytes and more, so that some are refused.
MOST_QUEUED_BYTES = 60
MOST_REPLY_BYTES = 60
# `FURTHER` and `OUTLIVED` of the scripts.
FURTHER = 8
OUTLIVED = 2
WIDTHS = st.sampled_from([1, 1, 2, CAPACITY + 2])
CHANCE = st.integers(0, 10_000)


@dataclass
class Known:
    """What the model knows of a job.

    Attributes:
        epoch: the newest that was given out, 0 once nobody holds the job by it.
        deaths: epochs of workers that fell silent, and one object for each engine that failed, but those outlived.
        deaths_in_all: with those.
        deaths_told: how many there were when it was set aside; a worker may be heard of later, when that is written.
        died_at: entries of its reply at the last death that it may outlive.
        long_lived: it runs longer than it ever did before a death.
        outlived_by: epoch of the worker with which it outlived the others.
        taken: sequences that it takes, or took last, up in an engine.
        alone: which are all of it.
        passed: jobs that were taken from behind it while it was the first that did not fit.
        front: it has been that, since it was last given out.
        long_in_front: for as long as anyone is.
    """

    job: Job
    gateway: str
    most_deaths: int
    lasting: bool = False
    state: str = "queued"
    attempts: int = 0
    epoch: int = 0
    epochs: list[int] = field(default_factory=list)
    deaths: set[object] = field(default_factory=set)
    deaths_in_all: set[object] = field(default_factory=set)
    deaths_told: int = 0
    died_at: int | None = None
    long_lived: bool = False
    outlived_by: int = 0
    holder: Worker | None = None
    log: list[bytes] = field(default_factory=list)
    steps: list[bytes] = field(default_factory=list)
    failure: str = ""
    taken: int = 0
    alone: bool = False
    passed: int = 0
    front: bool = False
    long_in_front: bool = False

    @property
    def id(self) -> str:
        return self.job.id

    @property
    def suspect(self) -> bool:
        return 0 < len(self.deaths) == self.most_deaths - 1 or self.has_no_more_to_outlive

    @property
    def has_no_more_to_outlive(self) -> bool:
        return len(self.deaths_in_all) >= OUTLIVED * self.most_deaths - 1

    @property
    def width(self) -> int:
        return CAPACITY if self.suspect else min(self.job.sequences, BATCH_ROOM if self.job.batch else CAPACITY)

    @property
    def passed_enough(self) -> bool:
        return self.passed >= MOST_PASSED or self.long_in_front

    def held_by(self, epoch: int) -> bool:
        """Whether a worker holds the job by this epoch, now that it is heard of."""
        self.forgive(epoch)
        if self.epoch != epoch or self.state not in {"queued", "leased"}:
            return False
        self.state = "leased"
        return True

    def forgive(self, epoch: int) -> None:
        """The worker that had this epoch is heard of."""
        self.deaths.discard(epoch)
        self.deaths_in_all.discard(epoch)

    def outlive(self) -> None:
        """What its workers died of lies behind it."""
        self.deaths.clear()
        self.died_at, self.long_lived, self.outlived_by = None, False, self.epoch
        if self.job.sequences < self.taken:
            self.taken = self.job.sequences
        self.alone = self.taken == CAPACITY

    @property
    def ended(self) -> bool:
        return self.state not in {"queued", "leased"}

    @property
    def said(self) -> bool:
        """Whether something was written of its reply."""
        return bool(self.log or self.failure)

    def end(self, state: str, failure: str = "") -> None:
        self.state, self.failure, self.steps = state, failure, []


@dataclass(eq=False)
class Worker:
    """What a worker believes to hold.

    Attributes:
        record: number of its last claim that Redis remembers, and what it gave.
    """

    id: str
    held: dict[str, Lease] = field(default_factory=dict)
    record: tuple[int, dict[str, int]] = (0, {})


class History(RuleBasedStateMachine):
    """Each rule is one verb, by a worker that holds jobs, or by one that believes that it does."""

    def __init__(self, redis_url: str, most_deaths: int):
        super().__init__()
        self.settings = Settings(
            redis_url=redis_url,
            redis_prefix=f"h-{secrets.token_hex(6)}",
            max_attempts=most_deaths,
            # Nothing runs out by itself, however slow the machine.
            lease_s=600,
            redis_timeout_s=60,
            max_dead_jobs=MOST_DEAD,
            max_overtakings=MOST_PASSED,
            max_overtaking_s=1000,
            max_queued_bytes=MOST_QUEUED_BYTES,
            max_reply_bytes=MOST_REPLY_BYTES,
        )
        self.runner = asyncio.Runner()
        self.redis = connect(self.settings, name="history")
        self.broker = UnreliableBroker(self.redis, self.settings)
        self.made = 0
        self.begun: dict[str, tuple[str, Known]] = {}
        self.known: dict[str, Known] = {}
        self.workers = [Worker(f"w{n}") for n in range(3)]
        self.dead: list[Lease] = []
        self.unheard: list[Known] = []
        self.kept = 0
        self.dead_letters = DeadLetters(self.redis, self.broker.keys)
        self.kept_free: tuple[Worker, Known] | None = None
        self.last_suspect: Known | None = None
        self.late: list[tuple[tuple[Any, ...], Callable[[Any], None]]] = []

    def teardown(self) -> None:
        self.run(self._drain())
        self.run(self.redis.aclose())
        self.runner.close()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    # --- gateways

    @initialize(widths=st.lists(WIDTHS, min_size=6, max_size=6), gateway=st.sampled_from(GATEWAYS))
    def begin(self, widths: list[int], gateway: str) -> None:
        for batch, some in enumerate((widths[:4], widths[4:])):
            self.enqueue(some, gateway, again=False, lasting=False, batch=bool(batch))

    @precondition(lambda self: len(self._waiting()) < MOST_WAITING)
    @rule(
        widths=st.lists(WIDTHS, min_size=1, max_size=4),
        gateway=st.sampled_from(GATEWAYS),
        again=st.booleans(),
        lasting=st.booleans(),
        batch=st.booleans(),
    )
    def enqueue(self, widths: list[int], gateway: str, again: bool, lasting: bool, batch: bool) -> None:
        for sequences in widths:
            known = self._new(sequences, gateway, batch)
            known.lasting = lasting
            full = self._is_full(known)
            for _ in range(1 + again):
                if full:
                    with pytest.raises(QueueBytesFull):
                        self.run(self.broker.enqueue(known.job, reply_to=gateway, lasting=lasting))
                else:
                    self.run(self.broker.enqueue(known.job, reply_to=gateway, lasting=lasting))
                    self.known[known.id] = known

    @precondition(lambda self: len(self._waiting()) < MOST_WAITING)
    @rule(
        key=st.sampled_from("kl"), sent=st.sampled_from("xxxy"), gateway=st.sampled_from(GATEWAYS), again=st.booleans()
    )
    def enqueue_once(self, key: str, sent: str, gateway: str, again: bool) -> None:
        known, once = self._new(1, gateway), Once(key, sent, "t")
        known.lasting = True
        begun_by, begun = self.begun.get(key, (sent, None))
        add = partial(self.broker.enqueue_once, known.job, once, reply_to=gateway, lasting=True)
        if begun_by != sent:
            for ask in (partial(self.broker.begun, MODEL, once), add):
                with pytest.raises(IdempotencyKeyReused):
                    self.run(ask())
        elif begun is not None and self._stands(begun):
            assert self.run(self.broker.begun(MODEL, once)) == self.run(add()) == begun.id
        else:
            assert self.run(self.broker.begun(MODEL, once)) is None
            if self._is_full(known):
                with pytest.raises(QueueBytesFull):
                    self.run(add())
                return
            for _ in range(1 + again):
                assert self.run(add()) is None
            self.known[known.id] = known
            self.begun[key] = (sent, known)

    @precondition(lambda self: not self.unheard)
    @rule(sequences=WIDTHS, gateway=st.sampled_from(GATEWAYS))
    def enqueue_and_get_no_answer(self, sequences: int, gateway: str) -> None:
        known = self._new(sequences, gateway)

        def arrive(answer: Any) -> None:
            if known in self.unheard:
                self.unheard.remove(known)
                if answer > 0:
                    self.known[known.id] = known

        self.broker.lost = "call"
        with pytest.raises(QueueUnavailable):
            self.run(self.broker.enqueue(known.job, reply_to=gateway))
        self.unheard.append(known)
        self.late.append((self.broker.called, arrive))

    @precondition(lambda self: len(self.known) > MOST_WAITING)
    @rule(chance=CHANCE)
    def enqueue_an_old_one_again(self, chance: int) -> None:
        known = self._some(chance)
        self.run(self.broker.enqueue(known.job, reply_to=known.gateway))

    @precondition(lambda self: self.unheard)
    @rule()
    def cancel_what_is_still_on_its_way(self) -> None:
        known = self.unheard.pop()
        assert self.run(self.broker.cancel(MODEL, known.id)) is None
        known.end("cancelled")
        self.known[known.id] = known

    @precondition(lambda self: len(self._waiting()) > 2)
    @rule(how=st.sampled_from(["gateway", "client", "queue"]), gateway=st.sampled_from(GATEWAYS), chance=CHANCE)
    def nobody_waits_any_more(self, how: str, gateway: str, chance: int) -> None:
        if how == "gateway":
            self._gateway_dies(gateway)
        elif how == "client":
            self._cancel(chance)
        else:
            self._let_the_oldest_wait_too_long()

    def _gateway_dies(self, gateway: str) -> None:
        orphans = self._ending_with(gateway)
        self.run(self.redis.zadd(self.broker.keys.gateways(MODEL), {gateway: 1}, xx=True))
        assert self.run(self.broker.reap(MODEL, gateway_id="another")) == (0, 0, len(orphans))
        for known in orphans:
            known.end("evicted", "gateway_lost")

    def _cancel(self, chance: int) -> None:
        known = self._some(chance)
        assert self.run(self.broker.cancel(MODEL, known.id)) == known.state
        if known.state in {"queued", "leased"}:
            known.end("cancelled", "request_cancelled")

    def _let_the_oldest_wait_too_long(self) -> None:
        known = self._waiting()[0]
        self.run(self.redis.hset(self.broker.keys.job(MODEL, known.id), "deadline_ms", 1))
        assert self.run(self.broker.reap(MODEL)) == (0, 1, 0)
        known.end("evicted", "queue_timeout")

    # --- workers

    @precondition(lambda self: self._waiting() or self.broker._unanswered)
    @rule(which=st.integers(0, 2), most=st.integers(1, 4), lost=st.sampled_from(["", "answer", "call"]))
    def lease(self, which: int, most: int, lost: str) -> None:
        self._lease(self.workers[which], most, lost)

    @precondition(lambda self: self._waiting())
    @rule(order=st.permutations(range(3)), most=st.integers(1, 2))
    def all_lease_while_there_is_work(self, order: list[int], most: int) -> None:
        for which in order * 2:
            self._lease(self.workers[which], most, "")

    def _lease(self, worker: Worker, most: int, lost: str) -> None:
        free = CAPACITY - sum(lease.width for lease in worker.held.values())
        self.broker.lost = lost
        try:
            of_batches = sum(lease.width for lease in worker.held.values() if lease.job.batch)
            room = {"free": free, "capacity": CAPACITY, "of_batches": of_batches}
            leases = self.run(self.broker.lease(MODEL, worker.id, **room, most=most))
        except QueueUnavailable:
            leases = Leases()
        if lost == "call":
            self.late.append((self.broker.called, partial(self._arrived, worker, self.broker.called)))
            return
        given, kept_free = self._given(worker, self.broker.called)
        if not lost:
            assert leases.kept_free == kept_free
            assert leases.some_left or not list(self._waiting())
            assert [(e.job, e.epoch, e.attempts, e.written, e.width) for e in leases] == [
                (k.job, k.epoch, k.attempts, len(k.log), k.taken) for k in given
            ]
            for lease in leases:
                known = self.known[lease.job.id]
                assert self.run(self.broker.recall(lease)) == (known.log, known.steps)
            worker.held |= {lease.job.id: lease for lease in leases}

    @precondition(lambda self: any(known.front for known in self._waiting()))
    @rule()
    def the_front_was_passed_for_too_long(self) -> None:
        for known in self._waiting():
            if known.front:
                known.long_in_front = True
                self.run(self.redis.hset(self.broker.keys.job(MODEL, known.id), "front_ms", 1))

    @precondition(lambda self: self.kept_free)
    @rule()
    def the_worker_that_is_kept_free_is_not_heard_of(self) -> None:
        self.run(self.redis.delete(self.broker.keys.reserved(MODEL)))
        self.kept_free = None

    @rule(which=st.integers(0, 2))
    def the_record_of_a_claim_is_damaged(self, which: int) -> None:
        worker = self.workers[which]
        self.run(self.redis.set(f"{self.broker.keys.model(MODEL)}claim:{worker.id}", "garbage", px=60_000))
        worker.record = (0, {})

    @rule(what=st.sampled_from(["queue", "leases", "wake", "wake-batch", "order"]))
    def a_key_is_overwritten(self, what: str) -> None:
        self.run(self.redis.set(f"{self.broker.keys.model(MODEL)}{what}", "garbage"))

    @rule(what=st.sampled_from(["queue", "leases", "order"]))
    def a_key_is_deleted(self, what: str) -> None:
        self.run(self.redis.delete(f"{self.broker.keys.model(MODEL)}{what}"))
        # The few there are here are all looked up at once.
        self.run(self.broker.reap(MODEL))

    @precondition(lambda self: self.late)
    @rule(chance=CHANCE)
    def a_call_arrives_late(self, chance: int) -> None:
        call, arrive = self.late.pop(chance % len(self.late))
        arrive(self.run(self.broker.deliver(call)))

    @precondition(lambda self: self._held())
    @rule(chance=CHANCE, count=st.integers(0, 3), final=st.booleans(), overlap=st.integers(0, 2), again=st.booleans())
    def append(self, chance: int, count: int, final: bool, overlap: int, again: bool) -> None:
        self._say(*self._some_lease(chance), count, final, overlap, again)

    @precondition(lambda self: any(known.died_at is not None for known in self._leased()))
    @rule()
    def all_say_more_than_those_that_died(self) -> None:
        for worker, lease in self._held():
            self._say(worker, lease, FURTHER + 1, letters=1)

    @precondition(lambda self: len(self._held()) > 1)
    @rule()
    def all_say_something(self) -> None:
        for worker, lease in self._held():
            self._say(worker, lease, 1)

    def _say(
        self,
        worker: Worker,
        lease: Lease,
        count: int,
        final: bool = False,
        overlap: int = 0,
        again: bool = False,
        letters: int = 99,
    ) -> None:
        known = self.known[lease.job.id]
        still = known.held_by(lease.epoch)
        new = [f"d{lease.epoch}:{len(known.log) + i}"[:letters].encode() for i in range(count)]
        if final:
            new.append(End().encode())
        offset = max(len(known.log) - overlap, 0) if still else 0
        steps = f"s{len(known.log)}".encode() * bool(new)
        entries = [*known.log[offset:], *new] if still else new
        counted = (sum(map(len, new)), len(steps))
        written = Append(lease.job.id, lease.epoch, offset, entries, final, steps, counted)
        for turn in range(1 + again):
            unwritten = self.run(self.broker.append(MODEL, [written]))
            if unwritten.held_back:
                assert still
                assert new
                assert not final
                self._check_that_there_is_no_room(written)
                return
            assert unwritten == ([] if still and not (turn and final) else [lease.job.id])
        if still and new and not final:
            self._check_the_budget(known)
        if still:
            known.log += new
            known.steps += [steps] if steps else []
            self._outlive_by_words(known, new)
            if final:
                known.end("finished")
        if final or not still:
            del worker.held[lease.job.id]

    @precondition(lambda self: self._held())
    @rule(chance=CHANCE)
    def renew(self, chance: int) -> None:
        worker, _ = self._some_lease(chance)
        lost = self.run(self.broker.renew(MODEL, worker.held.values()))
        assert set(lost) == {i for i, lease in worker.held.items() if not self.known[i].held_by(lease.epoch)}
        for job_id in lost:
            del worker.held[job_id]
        held = {job_id: self.known[job_id] for job_id in worker.held}
        for known in held.values():
            if known.long_lived and known.died_at is not None:
                known.outlive()
        assert lost.widths == {i: known.taken for i, known in held.items() if known.outlived_by == known.epoch}
        for job_id, width in lost.widths.items():
            worker.held[job_id] = replace(worker.held[job_id], width=width)

    @precondition(lambda self: any(known.died_at is not None for known in self._leased()))
    @rule(chance=CHANCE, heard_of=st.booleans())
    def a_job_runs_longer_than_with_those_that_died(self, chance: int, heard_of: bool) -> None:
        mortal = [known for known in self._leased() if known.died_at is not None]
        known = mortal[chance % len(mortal)]
        known.long_lived = True
        self.run(self.redis.hset(self.broker.keys.job(MODEL, known.id), "lived_ms", -(10**9)))
        if heard_of and self._held():
            self.renew(next((i for i, (w, _) in enumerate(self._held()) if w is known.holder), 0))

    @precondition(lambda self: self._held())
    @rule(chance=CHANCE, failed=st.booleans())
    def release(self, chance: int, failed: bool) -> None:
        self._release(self._some_lease(chance)[0], failed)

    @precondition(lambda self: self._waiting())
    @rule(
        order=st.permutations(range(3)), rounds=st.integers(1, 2), outliving=st.booleans(), most=st.sampled_from([1, 4])
    )
    def engines_fail_one_after_the_other(self, order: list[int], rounds: int, outliving: bool, most: int) -> None:
        for which in order * rounds:
            worker = self.workers[which]
            self._lease(worker, most, "")
            for lease in list(worker.held.values()) if outliving else ():
                self._say(worker, lease, FURTHER, letters=1)
            self._release(worker, failed=True)

    def _release(self, worker: Worker, failed: bool) -> None:
        requeued = self.run(self.broker.release(MODEL, worker.held.values(), failed=failed))
        expected = 0
        for job_id, lease in worker.held.items():
            known = self.known[job_id]
            if known.epoch != lease.epoch or known.state not in {"queued", "leased"}:
                continue
            if not failed:
                known.forgive(lease.epoch)
            if known.state == "leased":
                known.attempts -= not failed
                self._give_back(known, object() if failed else None)
                expected += known.state == "queued"
            known.epoch = 0
        assert requeued == expected
        self.dead += worker.held.values()
        worker.held = {}

    @precondition(lambda self: self._leased())
    @rule(chance=CHANCE)
    def fall_silent(self, chance: int) -> None:
        self._lapse(self._some_holder(chance))

    @precondition(lambda self: self._leased())
    @rule(chance=CHANCE)
    def die(self, chance: int) -> None:
        worker = self._some_holder(chance)
        self._lapse(worker)
        self.dead += worker.held.values()
        self.workers = [Worker(f"{w.id}'") if w is worker else w for w in self.workers]

    @precondition(lambda self: self.dead)
    @rule(chance=CHANCE)
    def an_append_arrives_after_its_worker_died(self, chance: int) -> None:
        lease = self.dead[chance % len(self.dead)]
        known = self.known[lease.job.id]
        written = Append(known.id, lease.epoch, len(known.log), [b"dlate"], False, counted=(5, 0))
        still = known.held_by(lease.epoch)
        unwritten = self.run(self.broker.append(MODEL, [written]))
        assert unwritten == ([] if still else [known.id])
        if unwritten.held_back:
            self._check_that_there_is_no_room(written)
        elif still:
            known.log += [b"dlate"]
            self._outlive_by_words(known, [b"dlate"])
        if still:
            self._lapse(self._holder(known))

    @precondition(lambda self: self.dead)
    @rule(chance=CHANCE, failed=st.booleans())
    def what_is_lost_cannot_be_given_back(self, chance: int, failed: bool) -> None:
        lease = self.dead[chance % len(self.dead)]
        known = self.known[lease.job.id]
        if known.epoch != lease.epoch or known.state not in {"queued", "leased"}:
            known.forgive(lease.epoch)
            assert self.run(self.broker.renew(MODEL, [lease])) == [known.id]
            assert self.run(self.broker.release(MODEL, [lease], failed=failed)) == 0

    # --- operators

    @precondition(lambda self: self.kept)
    @rule(retry=st.booleans(), chance=CHANCE)
    def a_dead_letter_is_dropped_or_run_again(self, retry: bool, chance: int) -> None:
        kept = self.run(self.dead_letters.of(MODEL))
        letter = kept[chance % len(kept)]
        known = self.known[letter.job_id]
        assert self.run(self.dead_letters.body(letter)) == known.job.body
        assert (letter.reason, letter.sequences, len(letter.deaths)) == (
            known.failure,
            known.job.sequences,
            known.deaths_told,
        )
        if retry:
            again = self._new(letter.sequences, known.gateway)
            if self._is_full(again):
                return
            again.lasting = True
            self.run(self.broker.enqueue(again.job, reply_to=again.gateway, lasting=True))
            self.known[again.id] = again
        self.run(self.dead_letters.drop(letter))
        self.kept -= 1

    # --- what must hold

    @invariant()
    def redis_holds_what_the_model_holds(self) -> None:
        assert self.run(self.broker.reap(MODEL)) == (0, 0, 0)
        waiting, leased, open_jobs, (bodies, replies, ended, dropped), found = self.run(self._look())
        dead = {letter.job_id for letter in self.run(self.dead_letters.of(MODEL))}
        assert len(dead) == self.kept
        assert dead <= {known.id for known in self.known.values() if known.failure == "poison_request"}
        assert waiting == [known.id.encode() for known in self._waiting()]
        assert leased == {known.id.encode() for known in self._leased()}
        assert _parts(bodies) == {known.id: len(known.job.body) for known in (*self._waiting(), *self._leased())}
        for gateway, ids in zip(GATEWAYS, open_jobs, strict=True):
            assert ids == {known.id.encode() for known in self._ending_with(gateway)}
        columns = (found[::3], found[1::3], found[2::3])
        there = {
            known.id: sum(map(len, (*log, *steps)))
            for known, log, steps in zip(self.known.values(), *columns[1:], strict=True)
        }
        assert _parts(replies) == {job_id: size for job_id, size in there.items() if size}
        assert {job_id.decode() for job_id in ended} == {i for i, size in there.items() if size and self.known[i].ended}
        gone = {known.id for known in self.known.values() if known.said and not there[known.id]}
        assert all(self.known[job_id].ended for job_id in gone)
        assert int(dropped or 0) == len(gone)
        for known, (state, deaths), log, steps in zip(self.known.values(), *columns, strict=True):
            assert steps == known.steps
            assert state.decode() == known.state
            assert int(deaths or 0) == len(known.deaths) or known.failure
            if known.id in gone:
                continue
            own = log[:-1] if known.failure else log
            assert own == known.log
            if known.failure:
                last = decode(log[-1])
                assert isinstance(last, Failure)
                assert last.code == known.failure

    def _stands(self, begun: Known) -> bool:
        """Whether its answer is still to come, or is kept for those who ask again."""
        if not begun.ended:
            return True
        kept = self.run(self.redis.exists(self.broker.keys.log(MODEL, begun.id)))
        return bool(kept) and (begun.state == "finished" or begun.failure == "poison_request")

    def _check_that_there_is_no_room(self, written: Append) -> None:
        """Not even without what others have said that have ended."""
        running = (*self._waiting(), *self._leased())
        taken = sum(map(len, (part for known in running for part in (*known.log, *known.steps))))
        assert taken + sum(written.counted or (0, 0)) > MOST_REPLY_BYTES
        assert self.run(self._first()) not in {None, written.job_id.encode()}

    def _check_the_budget(self, known: Known) -> None:
        taken = self.run(self.broker.census(MODEL)).reply_bytes
        assert taken <= MOST_REPLY_BYTES or self.run(self._first()) == known.id.encode()

    # --- helpers

    def _waiting(self) -> list[Known]:
        waiting = [known for known in self.known.values() if known.state == "queued"]
        return sorted(waiting, key=lambda known: (known.suspect, known.job.batch))

    def _queued_bytes(self) -> int:
        return sum(len(known.job.body) for known in (*self._waiting(), *self._leased()))

    def _new(self, sequences: int, gateway: str, batch: bool = False) -> Known:
        self.made += 1
        body = b'{"x":%b}' % (b"1" * (self.made % 7))
        job = Job(f"j{self.made:03}", MODEL, "/", body, sequences, batch=batch)
        return Known(job, gateway, self.settings.max_attempts)

    def _is_full(self, known: Known) -> bool:
        most = MOST_QUEUED_BYTES // (1 + known.job.batch)
        return self._queued_bytes() > 0 and self._queued_bytes() + len(known.job.body) > most

    def _leased(self) -> list[Known]:
        return [known for known in self.known.values() if known.state == "leased"]

    def _ending_with(self, gateway: str) -> list[Known]:
        running = (*self._waiting(), *self._leased())
        return [known for known in running if known.gateway == gateway and not known.lasting]

    def _holder(self, known: Known) -> Worker:
        assert known.holder is not None
        return known.holder

    def _some_holder(self, chance: int) -> Worker:
        return self._holder(self._leased()[chance % len(self._leased())])

    def _some(self, chance: int) -> Known:
        return list(self.known.values())[chance % len(self.known)]

    def _held(self) -> list[tuple[Worker, Lease]]:
        return [(worker, lease) for worker in self.workers for lease in worker.held.values()]

    def _some_lease(self, chance: int) -> tuple[Worker, Lease]:
        return self._held()[chance % len(self._held())]

    def _given(self, worker: Worker, call: tuple[Any, ...]) -> tuple[list[Known], bool]:
        """What a claim gives, and whether the worker is kept free."""
        claim, again, free, _, most = call[8:13]
        newest, earlier = worker.record
        if claim <= newest:
            again = [self.known[i] for i, epoch in earlier.items() if claim == newest and self.known[i].held_by(epoch)]
            return again, False
        given, kept_free = self._fitting(worker, free, most, batch_free=call[16])
        for known in given:
            self._give(known, worker)
        if given or again:
            worker.record = (claim, {known.id: known.epoch for known in given})
        return given, kept_free

    def _fitting(self, worker: Worker, free: int, most: int, batch_free: int) -> tuple[list[Known], bool]:
        given: list[Known] = []
        if self.kept_free is not None and self.kept_free[0] is worker:
            known = self.kept_free[1]
            if known.state == "queued" and known.width > free:
                return [], True
            self.kept_free = None
            if known.state == "queued":
                given.append(known)
                free -= known.width
        suspect = next((k for k in self._waiting() if k.suspect and k not in given), None)
        if suspect is not None:
            suspect.front = True
            if free == CAPACITY and (suspect.passed_enough or not self._one_runs_alone()):
                return [suspect], False
            if free < CAPACITY and suspect.passed_enough and self.kept_free is None and not suspect.job.batch:
                self.kept_free = (worker, suspect)
                return given, True
        front: Known | None = None
        behind_front = unsuspected = again = 0
        kept_free = False
        for known in self._waiting():
            if len(given) == most or free <= 0:
                break
            if known in given:
                continue
            gives_way = known.job.batch and not known.suspect
            if gives_way:
                if front is not None and not front.job.batch:
                    break
                if batch_free <= 0:
                    break
            if known.width <= (min(free, batch_free) if gives_way else free):
                again += bool(known.epochs)
                if again > 1:
                    break
                given.append(known)
                free -= known.width
                batch_free -= known.width * known.job.batch
                behind_front += front is not None
                unsuspected += not known.suspect
            elif front is None:
                front = known
                front.front = True
                if front.job.batch and front.passed_enough:
                    break
                if self.kept_free is None and front.passed_enough:
                    self.kept_free = (worker, front)
                    kept_free = True
                    break
        if front is not None:
            front.passed += behind_front
            assert front.passed < MOST_PASSED + most or self.kept_free
        if suspect is not None:
            suspect.passed += unsuspected
        return given, kept_free

    def _arrived(self, worker: Worker, call: tuple[Any, ...], answer: Any) -> None:
        rows, kept_free, _, some_left = answer
        given, expected = self._given(worker, call)
        assert ([row[0].decode() for row in rows], bool(kept_free)) == ([known.id for known in given], expected)
        assert some_left or not list(self._waiting())

    def _one_runs_alone(self) -> bool:
        last = self.last_suspect
        return last is not None and last.state == "leased" and last.alone

    def _outlive_by_words(self, known: Known, new: list[bytes]) -> None:
        if new and known.died_at is not None and len(known.log) >= known.died_at + FURTHER:
            known.outlive()

    def _give(self, known: Known, worker: Worker) -> None:
        if known.suspect:
            self.last_suspect = known
        epoch = self.run(self._epoch(known))
        assert all(epoch > earlier for earlier in known.epochs)
        known.taken = known.width
        known.state, known.holder, known.epoch = "leased", worker, epoch
        known.epochs.append(epoch)
        known.attempts += 1
        known.alone = known.taken == CAPACITY
        known.passed, known.front, known.long_in_front = 0, False, False

    def _give_back(self, known: Known, death: object | None) -> None:
        if death is not None:
            known.deaths.add(death)
            known.deaths_in_all.add(death)
        if len(known.deaths) == known.most_deaths or len(known.deaths_in_all) == OUTLIVED * known.most_deaths:
            assert known.alone
            known.deaths_told = len(known.deaths_in_all)
            known.end("evicted", "poison_request")
            self.kept = min(self.kept + 1, MOST_DEAD)
            return
        known.state = "queued"
        if known.has_no_more_to_outlive:
            known.died_at = None
        elif death is not None:
            known.died_at, known.long_lived = max(len(known.log), known.died_at or 0), False

    def _lapse(self, worker: Worker) -> None:
        """All of a worker's leases run out, and somebody looks."""
        lapsed = [known for known in self._leased() if known.holder is worker]
        for known in lapsed:
            self.run(self.redis.zadd(self.broker.keys.leases(MODEL), {known.id: 1}, xx=True))
            self._give_back(known, known.epoch)
        requeued = sum(known.state == "queued" for known in lapsed)
        assert self.run(self.broker.reap(MODEL)) == (requeued, len(lapsed) - requeued, 0)

    async def _epoch(self, known: Known) -> int:
        return int(await self.redis.hget(self.broker.keys.job(MODEL, known.id), "epoch"))

    async def _first(self) -> bytes | None:
        """The job that goes on where there is no room."""
        first: bytes | None = await self.redis.get(f"{self.broker.keys.model(MODEL)}first")
        return first

    async def _look(self) -> tuple[list[bytes], set[bytes], list[set[bytes]], list[Any], list[Any]]:
        keys = self.broker.keys
        async with self.redis.pipeline(transaction=True) as pipe:
            pipe.zrange(keys.queue(MODEL), 0, -1)
            pipe.zrange(keys.leases(MODEL), 0, -1)
            for gateway in GATEWAYS:
                pipe.smembers(keys.jobs_of(MODEL, gateway))
            pipe.hgetall(keys.bodies(MODEL))
            pipe.hgetall(keys.replies(MODEL))
            pipe.zrange(keys.ended(MODEL), 0, -1)
            pipe.hget(keys.counts(MODEL), "replies_dropped")
            for job_id in self.known:
                pipe.hmget(keys.job(MODEL, job_id), "state", "deaths")
                pipe.lrange(keys.log(MODEL, job_id), 0, -1)
                pipe.lrange(keys.steps(MODEL, job_id), 0, -1)
            waiting, leased, first, second, *rest = await pipe.execute()
        return waiting, set(leased), [first, second], rest[:4], rest[4:]

    async def _drain(self) -> None:
        """Everything that is left can be brought to its end by one worker."""
        for job_id in await self.redis.zrange(self.broker.keys.leases(MODEL), 0, -1):
            await self.redis.zadd(self.broker.keys.leases(MODEL), {job_id: 1})
        await self.broker.reap(MODEL)
        while leases := await self.broker.lease(MODEL, "last", free=1, capacity=1, most=1):
            for lease in leases:
                await self.broker.append(
                    MODEL, [Append(lease.job.id, lease.epoch, lease.written, [End().encode()], final=True)]
                )
        assert await depth_of(self.broker, MODEL) == (0, 0)
        assert _parts(await self.redis.hgetall(self.broker.keys.bodies(MODEL))) == {}
        for job_id in self.known:
            state = await self.redis.hget(self.broker.keys.job(MODEL, job_id), "state")
            assert state in {b"finished", b"cancelled", b"evicted"}


def _parts(counted: dict[bytes, bytes]) -> dict[str, int]:
    """What is counted for each job; the sum is that of all."""
    parts = {name.decode(): int(count) for name, count in counted.items()}
    assert parts.pop(Keys.SUM, 0) == sum(parts.values())
    return parts


@pytest.mark.parametrize("most_deaths", [2, 3])
def test_no_history_loses_or_doubles_a_job(redis_url: str, most_deaths: int) -> None:
    settings = hypothesis.settings(
        max_examples=20,
        stateful_step_count=50,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        # What fails is printed as it is: a shorter history takes minutes to find, in which the test runs out of time.
        phases=[hypothesis.Phase.generate],
    )
    run_state_machine_as_test(lambda: History(redis_url, most_deaths), settings=settings)
