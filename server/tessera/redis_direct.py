"""Commands without what redis-py's client does around each of them: that takes longer than Redis itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import redis.asyncio as aioredis
from redis.asyncio.cluster import RedisCluster
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from tessera.redis_connection import Command, PipelinedConnection


class Direct:
    """Sends commands over one connection of a client's pool, which it keeps; those that block get others.

    Of a Cluster, the client itself sends them: it knows to whom.

    Args:
        redis: a client without ``decode_responses``.
        limit_s: longest wait for an answer, and for a connection; None: as the client's.
    """

    def __init__(self, redis: aioredis.Redis, limit_s: float | None = None):
        self._cluster = redis if isinstance(redis, RedisCluster) else None
        self._pool = redis.connection_pool if self._cluster is None else None
        options = (self._cluster or redis.connection_pool).connection_kwargs
        self._limit_s: float = limit_s if limit_s is not None else options["socket_timeout"]
        self._shared: PipelinedConnection | None = None
        self._sharing = asyncio.Lock()
        # For commands that block; it is not there while one does.
        self._own: PipelinedConnection | None = None

    async def command(self, *parts: Any, behind: Sequence[Command] = (), blocking_s: float = 0.0) -> Any:
        """Run a command. Raises redis-py's errors, or TimeoutError.

        Args:
            behind: other commands that are sent before it, in one go, and whose answers nobody needs. Where one blocks,
                it is run in the moment in which that no longer does.
            blocking_s: how long one of them may block; Redis gives it up when it is cancelled.
        """
        limit_s = self._limit_s + blocking_s
        if self._cluster is not None:
            async with asyncio.timeout(limit_s):
                return await self._run_in(self._cluster, parts, behind)
        run = self._run_alone if blocking_s else self._run
        try:
            return await run(parts, behind, limit_s)
        except RedisConnectionError:
            # As the client does (see `connect`): the connection may have died with a Redis that was restarted.
            return await run(parts, behind, limit_s)

    async def _run_in(self, cluster: RedisCluster, parts: Command, behind: Sequence[Command]) -> Any:
        for each in behind:
            with suppress(ResponseError):  # of a failover, for one: the command behind it has its own answer
                await cluster.execute_command(*each)
        return await cluster.execute_command(*parts)

    async def _run(self, parts: Command, behind: Sequence[Command], limit_s: float) -> Any:
        connection = self._shared
        if connection is None or connection.ended:
            async with asyncio.timeout(self._limit_s):
                connection = await self._share()
        return await connection.command(parts, behind, limit_s)

    async def _share(self) -> PipelinedConnection:
        async with self._sharing:
            if self._shared is not None and self._shared.ended:
                connection, self._shared = self._shared, None
                await self._give_back(connection)
            if self._shared is None:
                self._shared = await self._open()
            return self._shared

    async def _run_alone(self, parts: Command, behind: Sequence[Command], limit_s: float) -> Any:
        connection, self._own = self._own, None
        if connection is not None and connection.ended:
            await self._give_back(connection)
            connection = None
        if connection is None:
            async with asyncio.timeout(self._limit_s):
                connection = await self._open()
        answered = False
        try:
            answer = await connection.command(parts, behind, limit_s)
            answered = True
        except ResponseError:
            answered = True
            raise
        finally:
            if answered and self._own is None:
                self._own = connection
            else:
                await self._give_back(connection)
        return answer

    async def _open(self) -> PipelinedConnection:
        assert self._pool is not None, "it is no Cluster"
        return PipelinedConnection(await self._pool.get_connection())  # type: ignore[no-untyped-call]

    async def _give_back(self, connection: PipelinedConnection) -> None:
        """Close a connection, and leave its place in the pool to others, also when that is cancelled."""
        assert self._pool is not None, "it is no Cluster"
        connection.end()

        async def give_back(pool: aioredis.ConnectionPool) -> None:
            await connection.pooled.disconnect(nowait=True)
            await pool.release(connection.pooled)

        await asyncio.shield(give_back(self._pool))
