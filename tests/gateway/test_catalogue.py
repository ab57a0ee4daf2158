from __future__ import annotations

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from tessera.errors import ModelNotFound, NoWorker, QueueUnavailable
from tessera.gateway.catalogue import Catalogue
from tessera.queue import Alias, ModelCard, ServedModel
from tessera.settings import Settings


class Directory:
    """Answers what the test says."""

    def __init__(self):
        self.answer = []

    async def models(self):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Aliases:
    """Those that the test says."""

    def __init__(self):
        self.answer = {}

    async def all(self):
        return self.answer


def served(name, *, workers=1, last_seen_s=0.0):
    return ServedModel(ModelCard(name, "/", 1), workers, last_seen_s)


@pytest.fixture
def directory():
    return Directory()


@pytest.fixture
def aliases():
    return Aliases()


@pytest.fixture
def catalogue(directory, aliases):
    return Catalogue(directory, aliases, Settings(worker_grace_s=60, aliases="set=a"))


async def test_before_the_first_answer_nothing_is_known(catalogue, directory):
    directory.answer = RedisConnectionError()
    await catalogue.refresh()
    for ask in (catalogue.served, lambda: catalogue.target("a")):
        with pytest.raises(QueueUnavailable):
            ask()


async def test_what_was_known_stays_known_while_redis_is_away(catalogue, directory):
    directory.answer = [served("a")]
    await catalogue.refresh()
    directory.answer = RedisConnectionError()
    await catalogue.refresh()
    assert catalogue.target("a").card.model == "a"
    assert [m.card.model for m in catalogue.served()] == ["a"]
    assert not catalogue.ready
    with pytest.raises(QueueUnavailable):
        catalogue.target("b")  # it may have been announced since


async def test_a_model_is_waited_for_as_long_as_its_worker_may_come_back(catalogue, directory):
    directory.answer = [served("a", workers=0, last_seen_s=59), served("b", workers=0, last_seen_s=61)]
    await catalogue.refresh()
    assert catalogue.target("a").workers == 0
    with pytest.raises(NoWorker):
        catalogue.target("b")
    assert [m.card.model for m in catalogue.served()] == ["a"]
    assert [m.card.model for m in catalogue.known()] == ["a", "b"]
    assert not catalogue.ready


async def test_an_unknown_model_is_not_found_where_there_are_others(catalogue, directory):
    await catalogue.refresh()
    with pytest.raises(NoWorker):
        catalogue.target("x")
    directory.answer = [served("a"), served("b")]
    await catalogue.refresh()
    with pytest.raises(ModelNotFound, match="`a`, `b`"):
        catalogue.target("x")


def by_chance(catalogue, name, times=200):
    return {catalogue.target(name).name for _ in range(times)}


async def test_an_alias_means_those_of_its_targets_that_have_workers(catalogue, directory, aliases):
    aliases.answer = {"x": Alias("x", {"a": 1, "b": 1, "c": 0, "gone": 1000}, 1)}
    directory.answer = [served("a"), served("b"), served("c")]
    await catalogue.refresh()
    assert by_chance(catalogue, "x") == {"a", "b"}
    directory.answer = [served("a"), served("b", workers=0), served("c")]
    await catalogue.refresh()
    assert by_chance(catalogue, "x") == {"a"}
    directory.answer = [served("a", workers=0, last_seen_s=61), served("b", workers=0), served("c")]
    await catalogue.refresh()
    assert by_chance(catalogue, "x") == {"b"}, "its worker may come back"
    directory.answer = [served("a", workers=0, last_seen_s=61), served("b", workers=0, last_seen_s=61), served("c")]
    await catalogue.refresh()
    with pytest.raises(NoWorker, match="`x`"):
        catalogue.target("x")
    directory.answer = [served("c")]
    await catalogue.refresh()
    with pytest.raises(ModelNotFound, match="Served: `c`"):
        catalogue.target("x")


async def test_the_same_key_means_the_same_target_and_what_went_before_goes_first(catalogue, directory, aliases):
    aliases.answer = {"x": Alias("x", {"a": 50, "b": 50}, 1)}
    directory.answer = [served("a"), served("b")]
    await catalogue.refresh()
    for key in map(str, range(50)):
        assert len({catalogue.target("x", key).name for _ in range(5)}) == 1
        assert catalogue.target("x", key, before="b").name == "b"
        assert catalogue.target("x", key, before="gone").name == catalogue.target("x", key).name


async def test_what_is_set_while_it_runs_goes_before_the_settings_until_it_is_removed(catalogue, directory, aliases):
    directory.answer = [served("a"), served("b")]
    await catalogue.refresh()
    assert catalogue.target("set").name == "a"
    aliases.answer = {"set": Alias("set", {"b": 1}, 1)}
    await catalogue.refresh()
    assert catalogue.target("set").name == "b"
    aliases.answer = {}
    await catalogue.refresh()
    assert catalogue.target("set").name == "a"


async def test_targets_are_never_aliases_so_that_there_are_no_circles(catalogue, directory, aliases):
    aliases.answer = {"a": Alias("a", {"b": 1}, 1), "b": Alias("b", {"a": 1}, 1), "x": Alias("x", {"y": 1}, 1)}
    aliases.answer["y"] = Alias("y", {"x": 1, "set": 1}, 1)
    directory.answer = [served("a"), served("b")]
    await catalogue.refresh()
    assert (catalogue.target("a").name, catalogue.target("b").name) == ("b", "a")
    assert catalogue.standing() == ["set", "a", "b"]
    for name in ("x", "y"):
        with pytest.raises(ModelNotFound):
            catalogue.target(name)
