from __future__ import annotations

import pytest
from redis.crc import key_slot

from tessera.queue.keys import Keys


@pytest.mark.parametrize("model", ["m", "a/b", "{x}", "a}b{c", "with space", "ü"])
@pytest.mark.parametrize("prefix", ["tessera", "pre{fix}", "a:b"])
def test_all_keys_of_a_model_are_in_one_slot_of_a_cluster(prefix: str, model: str) -> None:
    keys = Keys(prefix)
    names = [keys.job(model, "1"), keys.job(model, "2"), keys.log(model, "1"), keys.queue(model), keys.leases(model)]
    names += [keys.wake(model), keys.wake_batch(model), keys.model(model) + "order"]
    assert len({key_slot(name.encode()) for name in names}) == 1
    assert len(set(names)) == len(names)


def test_the_directory_is_in_one_slot() -> None:
    keys = Keys("p")
    assert len({key_slot(name.encode()) for name in (keys.workers, keys.cards, keys.models)}) == 1


def test_models_gateways_and_workers_do_not_collide() -> None:
    keys = Keys("p")
    assert keys.queue("a") != keys.queue("b")
    assert keys.gateway("x") != keys.worker("x")
