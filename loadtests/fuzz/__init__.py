"""Sends damaged media to a running gateway, and counts what comes of it."""
