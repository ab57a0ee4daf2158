"""What Ray Serve is told to run, by a configuration or by the command."""

from __future__ import annotations

from typing import Any

import pytest
from ray import serve

from tessera.settings import Settings
from tessera.worker.application import application
from tessera.worker.deployment import build_application

pytestmark = pytest.mark.usefixtures("nothing_from_outside")

URL = "redis://:secret@redis:6379"


@pytest.fixture(autouse=True)
def environment(nothing_from_outside: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESSERA_REDIS_URL", URL)


def options(built: serve.Application) -> dict[str, Any]:
    deployment = built._bound_deployment
    return {
        "replicas": deployment.num_replicas,
        "actor": deployment.ray_actor_options,
        "bundles": deployment._replica_config.placement_group_bundles,
        "stop_s": deployment._deployment_config.graceful_shutdown_timeout_s,
        "bound": deployment._replica_config.init_args[0],
    }


def test_workers_look_for_everything_else_in_their_own_environment():
    arguments = {"model": "org/model", "replicas": 3, "gpus_per_replica": 2, "drain_timeout_s": 100}
    told = options(application(arguments))
    assert told["replicas"] == 3
    assert told["actor"]["num_gpus"] == 2
    assert told["stop_s"] > 100
    assert told["bound"] == arguments  # neither the URL of Redis nor its password


def test_the_command_passes_all_its_settings_on():
    bound = options(build_application(Settings(redis_url=URL, engine="simulated")))["bound"]
    assert bound["redis_url"] == URL
    assert Settings(**bound) == Settings(redis_url=URL, engine="simulated")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"modle": "org/model"}, "modle: Extra inputs are not permitted (it is 'org/model')"),
        ({"replicas": 0}, "replicas: Input should be greater than or equal to 1 (it is 0)"),
        ({"engine": "vlm"}, "engine: Input should be 'vllm' or 'simulated' (it is 'vlm')"),
    ],
)
def test_a_wrong_argument_is_one_line(arguments: dict[str, Any], said: str):
    with pytest.raises(ValueError, match="arguments are wrong") as raised:
        application(arguments)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_pods_without_the_address_of_redis(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TESSERA_REDIS_URL")
    with pytest.raises(ValueError, match="TESSERA_REDIS_URL is not set"):
        application({})


def test_gpus_on_several_machines():
    told = options(application({"gpus_per_replica": 4, "gpus_across_nodes": True}))
    assert told["bundles"] == [{"CPU": 1, "GPU": 1}, {"GPU": 1}, {"GPU": 1}, {"GPU": 1}]
    # The replica itself needs none of them: vLLM's workers do.
    assert told["actor"]["num_gpus"] == 0


@pytest.mark.parametrize("gpus", [0, 0.5, 1.5])
def test_parts_of_gpus_are_on_one_machine(gpus: float):
    with pytest.raises(ValueError, match="needs whole GPUs"):
        application({"gpus_per_replica": gpus, "gpus_across_nodes": True})
