"""A request's body: read, understood as far as the gateway must, and passed on otherwise untouched.

The public surface: callers import from here and from nowhere below, but for the table of endpoints.
"""

from tessera.gateway.body.document import Document
from tessera.gateway.body.endpoint import Endpoint
from tessera.gateway.body.options import LONGEST_NAME, Options, read_options
from tessera.gateway.body.path import Path, written
from tessera.gateway.body.room import BodyRoom, Share
from tessera.gateway.body.upload import read_body
from tessera.gateway.body.width import Limits

__all__ = [
    "LONGEST_NAME",
    "BodyRoom",
    "Document",
    "Endpoint",
    "Limits",
    "Options",
    "Path",
    "Share",
    "read_body",
    "read_options",
    "written",
]
