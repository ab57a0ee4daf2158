"""Has Python write the bytecode of what a gateway's processes import: ``python bytecode.py``, as who may write it.

Of no more: that of whole packages is as large as they are. The base's own modules are among them: it has no bytecode.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

import tessera
from tessera.media.sandbox.warm_up import warm_up

# Of workers, and of what runs everything on one machine.
ELSEWHERE = ("tessera.worker", "tessera.local", "tessera.__main__")
# What is imported late, or by a name in a text.
LATE = (
    "importlib.readers",
    "obstore.store",
    "tokenizers",
    "uvicorn.lifespan.on",
    "uvicorn.loops.uvloop",
    "uvicorn.protocols.http.httptools_impl",
)

for module in pkgutil.walk_packages(tessera.__path__, "tessera."):
    if not module.name.startswith(ELSEWHERE):
        import_module(module.name)
for name in LATE:
    import_module(name)
# It decodes a file of each kind, too, by the libraries as they are here.
warm_up()
