from __future__ import annotations

import pytest

from tessera.queue.fitness import misfit

FIT = {"redis_version": "7.4.1", "role": "master", "maxmemory": 1000, "maxmemory_policy": "noeviction"}


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"redis_version": "6.2.0"},
        {"redis_version": "255.255.255"},
        {"redis_version": "unstable"},
        # Without a bound nothing is ever thrown away.
        {"maxmemory": 0, "maxmemory_policy": "allkeys-lru"},
    ],
)
def test_what_will_do(told):
    assert misfit(FIT | told) == ""
    assert misfit(told) == ""


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"redis_version": "6.0.16"}, "it is version 6.0.16: 6.2 or newer is needed"),
        ({"redis_version": "5.0"}, "it is version 5.0"),
        ({"role": "slave"}, "it is a replica"),
        ({"maxmemory_policy": "volatile-lru"}, "its maxmemory-policy is volatile-lru"),
    ],
)
def test_what_will_not_do_is_one_line(told, said):
    assert misfit(FIT | told).startswith(said)
    assert "\n" not in misfit(FIT | told)
