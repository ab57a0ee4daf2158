"""Responses that are kept: what was asked, what came of it, and which went before, by tenant, in Redis.

The public surface: callers import from here and from nowhere below.
"""

from tessera.responses.record import MOST_ID_CHARACTERS, StoredResponse, is_response_id, response_id_of
from tessera.responses.shelf import Shelf

__all__ = ["MOST_ID_CHARACTERS", "Shelf", "StoredResponse", "is_response_id", "response_id_of"]
