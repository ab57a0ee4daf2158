"""Everything on one machine: an embedded Redis, a worker and a gateway, started, watched and stopped together."""
