"""``tessera batch``: has a file of requests answered, from a terminal."""

from tessera.batch_client.command import app

__all__ = ["app"]
