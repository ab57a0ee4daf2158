"""How many file descriptors this process may have, which bounds how many connections it can serve."""

from __future__ import annotations

import resource

import structlog

log = structlog.get_logger()

# For Redis (two pools and a subscription), media downloads, and what libraries open: about 250 at most.
RESERVED = 256


def raise_descriptor_limit() -> None:
    """Raise the soft limit, which is 1,024 on many machines for the sake of old programs, to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError) as error:  # macOS refuses a soft limit without bounds
        log.warning("descriptor_limit_kept", limit=soft, error=str(error))


def most_connections(wanted: int) -> int:
    """Connections that there may be: as many as wanted, or as the limit on file descriptors allows."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    return min(wanted, max(soft - RESERVED, soft // 2))
