from __future__ import annotations

from collections import Counter

import pytest

from tessera.gateway.alias_choice import choose

KEYS = [f"user-{n}" for n in range(4000)]


def chosen(weights):
    return {key: choose(weights, key) for key in KEYS}


@pytest.mark.parametrize("keyed", [True, False])
@pytest.mark.parametrize("weights", [{"a": 90, "b": 10}, {"a": 1, "b": 1, "c": 2}])
def test_each_gets_its_share(weights, keyed):
    found = Counter(choose(weights, key if keyed else "") for key in KEYS)
    for name, weight in weights.items():
        expected = len(KEYS) * weight / sum(weights.values())
        # Six standard deviations.
        assert abs(found[name] - expected) < 6 * expected**0.5


def test_only_the_share_that_moves_gets_another_one():
    few, more = chosen({"a": 90, "b": 10}), chosen({"a": 50, "b": 50})
    assert {more[key] for key in KEYS if few[key] == "b"} == {"b"}, "none comes back from what gets more"
    without, with_it = chosen({"a": 1, "b": 1}), chosen({"a": 1, "b": 1, "c": 1})
    assert all(with_it[key] in ("c", without[key]) for key in KEYS)
    assert chosen({"b": 10, "a": 90}) == few, "whatever their order"


def test_any_text_may_be_a_key():
    assert choose({"a": 1, "b": 1}, "\0\udc80ü") in ("a", "b")
