"""Tenants as labels of metrics: their number is bounded, whatever is in the file of keys, now and in the past."""

from __future__ import annotations

MOST_LABELS = 256
# No tenant can have this name.
FURTHER = "*"


class TenantLabels:
    """The first tenants that are seen have labels of their own, the others one for all of them.

    Args:
        most: labels of their own.
    """

    def __init__(self, most: int = MOST_LABELS):
        self._most = most
        self._own: set[str] = set()

    def __call__(self, tenant: str) -> str:
        """The label of a tenant."""
        if tenant not in self._own:
            if len(self._own) >= self._most:
                return FURTHER
            self._own.add(tenant)
        return tenant


tenant_label = TenantLabels()
