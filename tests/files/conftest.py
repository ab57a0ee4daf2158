from __future__ import annotations

from pathlib import Path

import pytest
import redis.asyncio as aioredis

from tessera.files import DirectoryStore, Files
from tessera.files.ledger import Ledger
from tessera.settings import Settings


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Limits that are small enough to be reached."""
    few = {"files_max_bytes": 10_000, "files_max_bytes_per_tenant": 25_000, "files_max_per_tenant": 4}
    return settings.model_copy(update={"files_store_url": (tmp_path / "store").as_uri(), "redis_timeout_s": 60, **few})


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store")


@pytest.fixture
def ledger(redis_client: aioredis.Redis, settings: Settings) -> Ledger:
    return Ledger(redis_client, settings)


@pytest.fixture
def files(ledger: Ledger, store: DirectoryStore, settings: Settings) -> Files:
    return Files(ledger, store, settings)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is over is looked for as often as tests do."""
    monkeypatch.setattr("tessera.files.files.PURGE_EVERY_S", 0.02)
