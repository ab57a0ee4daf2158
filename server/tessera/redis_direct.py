"""Commands without what redis-py's client does around each of them: that takes longer than Redis itself."""

from __future__ import annotations

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

    async def command(self, *parts: Any) -> Any:
        """Run a command. Raises redis-py's errors."""
        if self._cluster is not None:
            return await self._cluster.execute_command(*parts)
        try:
            return await self._run(parts)
        except RedisConnectionError:
            # As the client does (see `connect`): the connection may have died with a Redis that was restarted.
            return await self._run(parts)

    async def _run(self, parts: tuple[Any, ...]) -> Any:
        assert self._pool is not None, "it is no Cluster"
        connection, self._kept = self._kept, None
        if connection is None:
            connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
        whole = False
        try:
            await connection.send_packed_command(_packed(parts, connection), check_health=False)
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


def _packed(parts: tuple[Any, ...], connection: AbstractConnection) -> bytes | list[bytes]:
    if any(isinstance(part, bytes | memoryview) and len(part) > COPIED_BYTES for part in parts):
        return connection.pack_command(*parts)
    packed: bytes = hiredis.pack_command(parts)
    return packed
