"""A fork server as on a kernel without Landlock, where its processes can open no file at all."""

from __future__ import annotations

from tessera.media.sandbox import fork_server, landlock

if __name__ == "__main__":
    landlock.restrict = lambda readable: False
    fork_server.main()
