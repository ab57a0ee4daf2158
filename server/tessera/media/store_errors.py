"""One error of the media store for all that its parts say when they cannot be reached, or do their work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from tessera.errors import MediaStoreUnavailable
from tessera.redis_errors import is_passing

_RETRY_S = 5


@contextmanager
def store_errors() -> Iterator[None]:
    """Make one error of all that Redis says when it cannot be reached, or cannot do its work at the moment."""
    try:
        yield
    except (RedisConnectionError, RedisTimeoutError, OSError) as error:
        raise unavailable() from error
    except ResponseError as error:
        if is_passing(error):
            raise unavailable() from error
        raise


def unavailable() -> MediaStoreUnavailable:
    """The error where Redis, or what holds large payloads, cannot be reached."""
    return MediaStoreUnavailable("The media store cannot be reached. Retry in a few seconds.", retry_after_s=_RETRY_S)
