"""Whether a Redis, as it is set up, can hold a queue."""

from __future__ import annotations

from collections.abc import Mapping

OLDEST = (6, 2)


def misfit(info: Mapping[str, object]) -> str:
    """What is wrong with a Redis, out of what its INFO says, in one line and with what to do; empty: nothing.

    What a server does not tell (a service, an ACL that hides it) is taken to be right.
    """
    version = str(info.get("redis_version", ""))
    numbers = [int(part) for part in version.split(".") if part.isdigit()]
    if numbers and tuple(numbers[:2]) < OLDEST:
        return f"it is version {version}: 6.2 or newer is needed"
    if info.get("role") == "slave":
        return "it is a replica, which takes no writes: name the primary"
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction" and info.get("maxmemory"):
        return f"its maxmemory-policy is {policy}, so that it throws requests away when it is full: set noeviction"
    return ""
