"""Where media may be fetched from, as the operator says: ports and host names."""

from __future__ import annotations

from ipaddress import ip_address

from yarl import URL

from tessera.errors import MediaFetchBlocked
from tessera.media.public_address import NOT_PUBLIC, is_public
from tessera.settings import Settings

_WEB_PORTS = frozenset({80, 443})


class Destinations:
    """Rules that every URL is held against, those that redirects lead to as well.

    Args:
        settings: ``media_allowed_ports``, ``media_allowed_hosts``, ``media_denied_hosts``, and whether non-public
            addresses may be asked.
    """

    def __init__(self, settings: Settings):
        self._private = settings.media_allow_private_networks
        self._ports = _ports(settings.media_allowed_ports, private=self._private)
        self._allowed = _hosts(settings.media_allowed_hosts)
        self._denied = _hosts(settings.media_denied_hosts)

    def check(self, target: URL, shown: str) -> None:
        """Raise ``MediaFetchBlocked`` where a URL may not be fetched. ``shown``: what an error may say of it."""
        host = (target.raw_host or "").rstrip(".").lower()
        if self._ports is not None and target.port not in self._ports:
            ports = " and ".join(map(str, sorted(self._ports)))
            raise MediaFetchBlocked(f"Media URL {shown!r} names a port that is not asked; allowed: {ports}.")
        if _covers(self._denied, host) or (self._allowed and not _covers(self._allowed, host)):
            raise MediaFetchBlocked(f"Media URL {shown!r} leads to a host from which this server fetches nothing.")
        # A name is looked up later, where a proxy connects by the proxy. What is an address can be told now.
        if not self._private and not _could_be_public(host):
            raise MediaFetchBlocked(f"Media URL {shown!r} cannot be fetched: {NOT_PUBLIC}.")


def _could_be_public(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return True
    return is_public(host)


def _ports(listed: str, *, private: bool) -> frozenset[int] | None:
    """The allowed ports; None: all."""
    if not listed:
        return None if private else _WEB_PORTS
    if listed.strip() == "*":
        return None
    return frozenset(map(int, listed.split(",")))


def _hosts(listed: str) -> frozenset[str]:
    names = (part.strip().lower().removeprefix("*").rstrip(".") for part in listed.split(","))
    return frozenset(name for name in names if name)


def _covers(names: frozenset[str], host: str) -> bool:
    """Whether a host is one of some names, or below one that begins with a dot."""
    if not names:
        return False
    if host in names:
        return True
    return any(host[place:] in names for place, letter in enumerate(host) if letter == ".")
