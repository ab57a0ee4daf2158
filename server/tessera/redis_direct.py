"""Commands without what redis-py's client does around each of them: that takes longer than Redis itself."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import hiredis
import redis.asyncio as aioredis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

# A part of a command that is longer is sent as it is, rather than copied.
COPIED_BYTES = 64 * 1024


class Direct:
    """Sends commands over one connection of a client's pool, which it keeps, and over others while that one is busy.

    Of a Cluster, the client itself sends them: it knows to whom.
    """

    def __init__(self, redis: aioredis.Redis):
        self._cluster = redis if isinstance(redis, RedisCluster) else None
        self._pool = redis.connection_pool if self._cluster is None else None
        self._kept: AbstractConnection | None = None

    async def command(self, *parts: Any, behind: Sequence[tuple[Any, ...]] = ()) -> Any:
        """Run a command. Raises redis-py's errors.

        Args:
            behind: other commands that are sent before it, in one go, and whose answers nobody needs. Where one blocks,
                it is run in the moment in which that no longer does.
        """
        if self._cluster is not None:
            for each in behind:
                with suppress(ResponseError):
                    await self._cluster.execute_command(*each)
            return await self._cluster.execute_command(*parts)
        try:
            return await self._run(parts, behind)
        except RedisConnectionError:
            # As the client does (see `connect`): the connection may have died with a Redis that was restarted.
            return await self._run(parts, behind)

    async def _run(self, parts: tuple[Any, ...], behind: Sequence[tuple[Any, ...]]) -> Any:
        assert self._pool is not None, "it is no Cluster"
        connection, self._kept = self._kept, None
        if connection is None:
            connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
        whole = False
        try:
            packed = [piece for each in (*behind, parts) for piece in _packed(each, connection)]
            await connection.send_packed_command(packed, check_health=False)
            for _ in behind:
                with suppress(ResponseError):  # of a failover, for one: the command behind it has its own answer
                    await connection.read_response()
            answer = await connection.read_response()
            whole = True
        except ResponseError as error:
            whole = "READONLY" not in str(error)
            if not whole:
                await connection.disconnect()  # a replica now: the next one is to whoever took over
            raise
        finally:
            # One that was given up in the middle of an answer is closed by then.
            if whole and self._kept is None:
                self._kept = connection
            else:
                await self._pool.release(connection)
        return answer


def _packed(parts: tuple[Any, ...], connection: AbstractConnection) -> list[bytes]:
    if any(isinstance(part, bytes | memoryview) and len(part) > COPIED_BYTES for part in parts):
        return connection.pack_command(*parts)
    return [hiredis.pack_command(parts)]
