from __future__ import annotations

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from tessera.errors import ModelNotFound, NoWorker, QueueUnavailable
from tessera.gateway.catalogue import Catalogue
from tessera.queue import ModelCard, ServedModel
from tessera.settings import Settings


class Directory:
    """Answers what the test says."""

    def __init__(self):
        self.answer = []

    async def models(self):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def served(name, *, workers=1, last_seen_s=0.0):
    return ServedModel(ModelCard(name, "/", 1), workers, last_seen_s)


@pytest.fixture
def directory():
    return Directory()


@pytest.fixture
def catalogue(directory):
    return Catalogue(directory, Settings(worker_grace_s=60))


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
