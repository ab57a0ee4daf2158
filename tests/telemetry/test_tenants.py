from __future__ import annotations

from tessera.telemetry.tenants import FURTHER, TenantLabels


def test_the_number_of_labels_is_bounded():
    label = TenantLabels(most=2)
    assert [label(tenant) for tenant in ("a", "b", "c", "a", "d", "b")] == ["a", "b", FURTHER, "a", FURTHER, "b"]
