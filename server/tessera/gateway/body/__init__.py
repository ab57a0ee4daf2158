"""A request's body: read, understood as far as the gateway must, and passed on otherwise untouched.

The public surface: callers import from here and from nowhere below.
"""

from tessera.gateway.body.document import Document
from tessera.gateway.body.fields import CHAT, COMPLETION, Endpoint
from tessera.gateway.body.options import LONGEST_NAME, Options, read_options
from tessera.gateway.body.path import Path, written
from tessera.gateway.body.room import BodyRoom, Share
from tessera.gateway.body.upload import read_body

__all__ = [
    "CHAT",
    "COMPLETION",
    "LONGEST_NAME",
    "BodyRoom",
    "Document",
    "Endpoint",
    "Options",
    "Path",
    "Share",
    "read_body",
    "read_options",
    "written",
]
