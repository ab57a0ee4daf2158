from __future__ import annotations

import random

import pytest

from loadtests.fuzz.blast import blast
from loadtests.fuzz.bombs import bombs
from loadtests.fuzz.corpus import seeds
from loadtests.fuzz.mutation import damage
from loadtests.fuzz.run import run


@pytest.mark.timeout(180)
async def test_damaged_media_is_answered_as_the_clients_fault_and_harms_nobody():
    outcome = await run(200, seed=7)
    assert outcome.clean, [(name, came) for name, came, _ in outcome.bad]
    answers = {answer for counts in outcome.by_format.values() for answer in counts}
    assert {"200", "400 media_decode_failed"} <= answers
    assert sum(sum(counts.values()) for counts in outcome.by_format.values()) == 200


def test_damage_is_the_same_for_the_same_seed_and_changes_most_files():
    files = [one.data for one in seeds()]
    first, second = ([damage(data, files, random.Random(3)) for data in files] for _ in range(2))
    assert first == second
    assert sum(old != new for old, new in zip(files, first, strict=True)) > 0.9 * len(files)


@pytest.mark.timeout(180)
async def test_small_files_that_ask_for_much_are_refused_and_the_gateway_hardly_grows():
    damage = await blast(bombs(quick=True))
    assert damage.clean, damage.blows
    refused = [blow for blow in damage.blows if blow.code == "media_too_large"]
    assert len(refused) >= 5, damage.blows
