"""What a Redis says that cannot do its work at the moment: failing over, starting, or with a disk that is full.

redis-py has classes for some of it, whose words are without their code. Of the others, and of all that happens within a
script of Redis 6.2, only the words tell.
"""

from __future__ import annotations

from redis.exceptions import ClusterDownError, ReadOnlyError, TryAgainError

# ``MasterDownError`` is one of a Cluster that is down. That it is starting is a connection's error to redis-py.
_PASSING = (ClusterDownError, ReadOnlyError, TryAgainError)
_CODES = ("READONLY", "MISCONF", "LOADING", "MASTERDOWN", "NOREPLICAS", "CLUSTERDOWN", "BUSY", "TRYAGAIN")


def is_passing(error: Exception) -> bool:
    """Whether the same may work in a while. That it is out of memory, each caller knows for itself."""
    return isinstance(error, _PASSING) or _says(error, *_CODES)


def is_replica(error: Exception) -> bool:
    """Whether it takes no writes, because another server has taken over."""
    return isinstance(error, ReadOnlyError) or _says(error, "READONLY")


def _says(error: Exception, *codes: str) -> bool:
    words = str(error)
    return any(f"{code} " in words for code in codes)
