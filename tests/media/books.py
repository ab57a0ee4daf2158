"""The books of the media store, read from Redis and checked for what must always hold."""

from __future__ import annotations

from dataclasses import dataclass

from redis.asyncio import Redis

PREFIX = "tessera:{media}:"


@dataclass(frozen=True)
class Books:
    """What stands in them.

    Attributes:
        sizes: digest to bytes.
        holds: digest and holder.
        idle: digests, the longest unused first.
    """

    sizes: dict[str, int]
    holds: set[tuple[str, str]]
    idle: list[str]


async def check_books(redis: Redis, prefix: str = PREFIX) -> Books:
    """The books; all that one of them says of another is true."""
    async with redis.pipeline(transaction=True) as pipe:
        for name in ("sizes", "bytes", "counts"):
            pipe.hgetall(prefix + name)
        for name in ("holds", "idle"):
            pipe.zrange(prefix + name, 0, -1)
        raw_sizes, raw_bytes, raw_counts, raw_holds, raw_idle = await pipe.execute()
    sizes = {digest.decode(): int(size) for digest, size in raw_sizes.items()}
    counts = {digest.decode(): int(count) for digest, count in raw_counts.items()}
    totals = {name.decode(): int(total) for name, total in raw_bytes.items()}
    holds = {(hold.decode()[:64], hold.decode()[65:]) for hold in raw_holds}
    idle = [digest.decode() for digest in raw_idle]
    assert totals.get("total", 0) == sum(sizes.values())
    assert totals.get("idle", 0) == sum(sizes[digest] for digest in idle)
    held = [digest for digest, _ in holds]
    assert counts == {digest: held.count(digest) for digest in held}
    assert set(sizes) == set(held) | set(idle)
    assert not set(held) & set(idle)
    return Books(sizes, holds, idle)
