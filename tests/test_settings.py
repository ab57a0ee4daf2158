from __future__ import annotations

import pytest
from pydantic import ValidationError

from tessera.settings import EMBEDDED_ENGINE_ARGS, EMBEDDED_MODEL_NAME, Settings
from tessera.settings import worker as module

pytestmark = pytest.mark.usefixtures("nothing_from_outside")


def test_every_setting_is_described():
    assert all(field.description for field in Settings.model_fields.values())


@pytest.mark.parametrize("name", [n for n, f in Settings.model_fields.items() if isinstance(f.default, float)])
def test_a_float_has_its_unit_in_its_name(name):
    assert name.endswith(("_s", "_ms", "_us", "_per_replica", "_percent", "_share"))


def test_settings_do_not_change():
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]


def test_the_environment_wins_over_the_file(monkeypatch, tmp_path):
    (tmp_path / "tessera.env").write_text("TESSERA_PORT=1\nTESSERA_REPLICAS=3\nOTHER=x\n")
    monkeypatch.setenv("TESSERA_PORT", "2")
    assert (Settings().port, Settings().replicas) == (2, 3)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({}, EMBEDDED_MODEL_NAME),
        ({"model": "org/model"}, "model"),
        ({"model": "/models/llama/"}, "llama"),
        ({"model": "org/model", "served_model_name": "mine"}, "mine"),
        ({"served_model_name": "mine"}, "mine"),
    ],
)
def test_the_name_for_clients(given, name):
    assert Settings(**given).resolved_model_name() == name


def test_the_embedded_model_is_the_default(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "EMBEDDED_MODEL", tmp_path)
    assert Settings().resolved_model() == str(tmp_path)
    assert Settings(engine_args="--seed 1").resolved_engine_args() == f"{EMBEDDED_ENGINE_ARGS} --seed 1"
    other = Settings(model="m", engine_args="--seed 1")
    assert (other.resolved_model(), other.resolved_engine_args()) == ("m", "--seed 1")
    monkeypatch.setattr(module, "EMBEDDED_MODEL", tmp_path / "missing")
    with pytest.raises(ValueError, match="TESSERA_MODEL"):
        Settings().resolved_model()
