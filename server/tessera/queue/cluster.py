"""A client of a Redis Cluster that behaves as the one of a single Redis does."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis.asyncio.client import PubSub
from redis.asyncio.cluster import ClusterNode, ClusterPipeline, RedisCluster
from redis.asyncio.connection import Connection
from redis.exceptions import ClusterDownError, MovedError, RedisClusterException, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

# What an answer says of the node, and not of the command.
_AWAY = (RedisConnectionError, RedisTimeoutError, ClusterDownError, MovedError, TryAgainError)


class ClusterClient(RedisCluster):
    """Errors are those of a single Redis, commands wait for a connection, and who is where is looked up again in time.

    Args:
        seeds: host and port of some nodes. They are asked as well when all that were found have gone.
        connection_class: of the connections.
        most: commands at once.
        patience_s: a command that is given up after longer than that was with a node that may have gone.
        options: for redis-py.
    """

    def __init__(
        self,
        seeds: tuple[tuple[str, int], ...],
        *,
        connection_class: type[Connection],
        most: int,
        patience_s: float,
        **options: Any,
    ):
        # What holds a connection beside commands: pipelines and channels.
        super().__init__(startup_nodes=[ClusterNode(*seed) for seed in seeds], max_connections=4 * most, **options)
        self.connection_kwargs["connection_class"] = connection_class
        for node in self.startup_nodes:
            node.connection_class = connection_class
        self._seeds = list(seeds)
        self._turn = asyncio.Semaphore(most)
        self._patience_s = patience_s

    async def initialize(self, *args: Any, **kwargs: Any) -> RedisCluster:
        """See redis-py."""
        with _told():
            return await super().initialize(*args, **{"additional_startup_nodes_info": self._seeds, **kwargs})

    async def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        """See redis-py."""
        async with self._turn:
            began = time.monotonic()
            try:
                with _told():
                    return await super().execute_command(*args, **kwargs)
            except asyncio.CancelledError:
                # Whoever waits has a limit of its own, and redis-py never hears that the node was silent.
                if time.monotonic() - began > self._patience_s:
                    self.look_again()
                raise

    def look_again(self) -> None:
        """Look up who is where before the next command."""
        self._initialize = True

    def pipeline(self, transaction: Any = None, shard_hint: Any = None) -> ClusterPipeline:
        """See redis-py."""
        return _Pipeline(self, transaction)  # type: ignore[abstract]  # as redis-py's own is

    async def channel(self) -> PubSub:
        """For messages, which every node passes on: of any that is there now."""
        self.look_again()
        await self.initialize()
        return self.pubsub(node=random.choice(self.get_nodes()))

    async def infos(self) -> list[dict[str, Any]]:
        """What each primary says of itself."""
        await self.initialize()
        nodes = self.get_primaries()
        return list(await asyncio.gather(*(self.info(target_nodes=node) for node in nodes)))


class _Pipeline(ClusterPipeline):
    async def initialize(self) -> ClusterPipeline:
        with _told():
            return await super().initialize()

    async def execute(self, raise_on_error: bool = True, allow_redirections: bool = True) -> list[Any]:
        with _told():
            answers: list[Any] = await super().execute(raise_on_error, allow_redirections)
        for answer in answers:
            if isinstance(answer, _AWAY):
                self.cluster_client._initialize = True
                raise answer
        return answers


@contextmanager
def _told() -> Iterator[None]:
    """redis-py has a tree of its own for what a Cluster as a whole cannot do at the moment."""
    try:
        yield
    except RedisClusterException as error:
        raise RedisConnectionError(str(error)) from error
