"""Tenants: who asks, by the key that they send.

The public surface: callers import from here and from nowhere below.
"""

from tessera.tenants.keys import KeyRing, KeysUnreadable, first_key

__all__ = ["KeyRing", "KeysUnreadable", "first_key"]
