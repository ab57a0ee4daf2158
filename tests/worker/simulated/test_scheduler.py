from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.settings import Settings
from tessera.worker.simulated.prompt import Medium, Prompt
from tessera.worker.simulated.scheduler import Scheduler, Sequence, Step

BLOCK = 16


def scheduler(**options: Any) -> Scheduler:
    given = {"seats": 8, "kv_blocks": 64, "block_tokens": BLOCK, "batch_tokens": 128} | options
    return Scheduler(Settings(**{f"simulated_{name}": value for name, value in given.items()}))


def sequence(prompt: str | Prompt = "", *, tokens: int = 16, most: int = 4, made: int = 0) -> Sequence:
    """One with a prompt of so many tokens that begins with the given text."""
    content = prompt if isinstance(prompt, Prompt) else Prompt.of_text(prompt.ljust(tokens * 4, "x"))
    return Sequence(content, most, lambda: None, made=made)


def run(engine: Scheduler) -> list[Step]:
    steps = []
    while not engine.idle:
        steps.append(engine.step())
        assert len(steps) < 10_000, "it does not come to an end"
    return steps


def test_a_sequence_gets_its_first_token_with_its_prompt_and_then_one_a_step() -> None:
    engine = scheduler()
    engine.add(sequence(tokens=10, most=3))
    steps = run(engine)
    assert [len(step.told) for step in steps] == [1, 1, 1]
    assert [step.prefilled for step in steps] == [10, 0, 0]


def test_a_long_prompt_is_computed_in_parts_while_others_go_on() -> None:
    engine = scheduler(batch_tokens=32)
    short, long = sequence("a", tokens=4, most=5), sequence("b", tokens=80, most=1)
    engine.add(short)
    engine.add(long)
    steps = run(engine)
    assert [step.prefilled for step in steps] == [32, 31, 21, 0, 0]
    assert [len(step.told) for step in steps] == [1, 1, 2, 1, 1]


def test_who_finds_no_seat_waits() -> None:
    engine = scheduler(seats=2)
    for name in "abc":
        engine.add(sequence(name, most=2))
    steps = run(engine)
    assert [len(step.told) for step in steps] == [2, 2, 1, 1]


def test_a_slow_sequence_gets_a_token_in_some_steps_only() -> None:
    engine = scheduler()
    slow = sequence(most=4)
    slow.slowness = 3
    engine.add(slow)
    assert [len(step.told) for step in run(engine)] == [1, 0, 1, 0, 0, 1, 0, 0, 1]


def test_a_prompt_that_begins_as_another_one_is_found_in_the_cache() -> None:
    engine = scheduler()
    common = "s" * BLOCK * 4 * 2
    first, second = sequence(common + "a", tokens=40), sequence(common + "b", tokens=40)
    engine.add(first)
    run(engine)
    engine.add(second)
    [step, *_] = run(engine)
    assert (first.cached, second.cached) == (0, 2 * BLOCK)
    assert step.prefilled == 40 - 2 * BLOCK


def test_of_a_prompt_that_is_there_already_the_last_token_is_computed() -> None:
    engine = scheduler()
    for _ in range(2):
        engine.add(sequence("a", tokens=2 * BLOCK))
        [step, *_] = run(engine)
    assert step.prefilled == 1


def test_without_a_prefix_cache_nothing_is_found() -> None:
    engine = scheduler(prefix_caching=False)
    for _ in range(2):
        again = sequence("a", tokens=40)
        engine.add(again)
        run(engine)
    assert again.cached == 0


def test_an_image_is_encoded_once() -> None:
    engine = scheduler()
    image = Prompt.of_parts(["<user>", Medium("d" * 64, 50)])
    assert image.tokens == 52  # six letters, and fifty tokens
    steps = []
    for _ in range(2):
        engine.add(sequence(image))
        steps += run(engine)
    assert sum(step.encoded for step in steps) == 50


def test_the_youngest_makes_room_for_others_and_comes_back() -> None:
    engine = scheduler(kv_blocks=6, prefix_caching=False)
    old, young = sequence("a", tokens=30, most=40), sequence("b", tokens=30, most=40)
    engine.add(old)
    engine.add(young)
    told = Counter(s for step in run(engine) for s in step.told)
    assert engine.preemptions > 0
    assert told == {old: 40, young: 40}


def test_what_earlier_workers_made_is_computed_with_the_prompt_and_not_made_again() -> None:
    engine = scheduler()
    resumed = sequence(tokens=20, most=10, made=7)
    engine.add(resumed)
    steps = run(engine)
    assert steps[0].prefilled == 27
    assert sum(len(step.told) for step in steps) == 3


REQUESTS = st.tuples(st.integers(1, 200), st.integers(1, 60), st.sampled_from("ab"), st.integers(0, 30), st.booleans())


@settings(max_examples=60, deadline=None)
@given(st.lists(REQUESTS, max_size=12), st.booleans(), st.integers(1, 4), st.integers(20, 40))
def test_whatever_comes_each_gets_its_tokens_and_all_room_is_free_in_the_end(
    requests: list[tuple[int, int, str, int, bool]], caching: bool, seats: int, blocks: int
) -> None:
    engine = scheduler(seats=seats, kv_blocks=blocks, prefix_caching=caching)
    told: Counter[Sequence] = Counter()
    wanted = {}
    for tokens, most, name, steps, dropped in requests:
        new = sequence(name, tokens=tokens, most=most)
        engine.add(new)
        for _ in range(steps):
            told.update(engine.step().told)
        if dropped:
            engine.drop(new)
        else:
            wanted[new] = most
    told.update(s for step in run(engine) for s in step.told)
    assert {s: told[s] for s in wanted} == wanted
    assert engine.free_blocks == blocks
