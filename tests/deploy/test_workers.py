"""How a model's values become a Ray cluster, or pods with one worker each."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
import yaml

from tessera.settings import Settings
from tessera.worker.application import application
from tests.deploy.chart import EXAMPLES, Object, environment, example, find, render, values


def served(service: Object) -> dict[str, Any]:
    """The one application of a RayService."""
    config = yaml.safe_load(service["spec"]["serveConfigV2"])
    assert config["proxy_location"] == "Disabled", "requests come by Redis, not by Serve's proxy"
    (app,) = config["applications"]
    return app


def arguments(service: Object) -> list[str]:
    return shlex.split(served(service)["args"].get("engine_args", ""))


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_serve_is_told_to_build_can_be_built(name: str, nothing_from_outside: None, monkeypatch: Any):
    monkeypatch.setenv("TESSERA_REDIS_URL", "redis://redis")
    for found in render(example(name)):
        if found["kind"] == "RayService":
            app = served(found)
            assert app["import_path"] == f"{application.__module__}:{application.__name__}"
            assert app["route_prefix"] is None
            assert application(app["args"])


def test_one_engine_on_two_machines():
    service = find(render(example("multi-node")), "RayService", "tessera-large")
    (group,) = service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    assert (group["replicas"], group["maxReplicas"]) == (2, 2)
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == "8"
    assert group["rayStartParams"]["num-gpus"] == "8"
    args = served(service)["args"]
    assert (args["replicas"], args["gpus_per_replica"], args["gpus_across_nodes"]) == (1, 16, True)
    assert arguments(service) == [
        "--tensor-parallel-size=8", "--pipeline-parallel-size=2", "--distributed-executor-backend=ray",
    ]  # fmt: skip


def test_several_gpus_of_one_machine_need_no_ray_between_them():
    service = find(render(example("two-models")), "RayService", "tessera-vision-large")
    assert served(service)["args"]["gpus_per_replica"] == 4
    assert "gpus_across_nodes" not in served(service)["args"]
    assert "--distributed-executor-backend=ray" not in arguments(service)
    (group,) = service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    assert (group["replicas"], group["minReplicas"]) == (2, 0), "the autoscaler may remove pods"


@pytest.mark.parametrize(
    "argument", ['--limit-mm-per-prompt={"image":8}', "--chat-template=it's {{ here }}", "--name=two words"]
)
@pytest.mark.parametrize("runtime", ["rayservice", "deployment"])
def test_an_engines_argument_arrives_as_it_was_written(argument: str, runtime: str):
    objects = render(values(models={"one": {"runtime": runtime, "engineArgs": [argument]}}))
    if runtime == "rayservice":
        assert arguments(find(objects, "RayService", "tessera-one")) == [argument]
    else:
        pod = find(objects, "Deployment", "tessera-one")["spec"]["template"]["spec"]
        assert shlex.split(environment(pod["containers"][0])["TESSERA_ENGINE_ARGS"]) == [argument]


def test_a_worker_without_ray_gets_everything_by_its_environment():
    given = values(
        settings={"lease_s": 7, "max_attempts": 5},
        models={"one": {"runtime": "deployment", "settings": {"lease_s": 9}, "servedName": "mine"}},
    )
    pod = find(render(given), "Deployment", "tessera-one")["spec"]["template"]["spec"]
    told = environment(pod["containers"][0])
    settings = {k.removeprefix("TESSERA_").lower(): v for k, v in told.items() if k.startswith("TESSERA_")}
    parsed = Settings(**{k: v for k, v in settings.items() if isinstance(v, str)})
    assert (parsed.lease_s, parsed.max_attempts) == (9, 5)
    assert (parsed.model, parsed.resolved_model_name(), parsed.gpus_per_replica) == ("org/one", "mine", 1)


def test_what_a_model_sets_is_in_its_application_and_the_rest_in_its_pods():
    """A change of the first is rolled out by Serve, a change of the second by a new cluster."""
    given = values(settings={"lease_s": 7}, models={"one": {"settings": {"reply_timeout_s": 600}}})
    service = find(render(given), "RayService", "tessera-one")
    assert served(service)["args"]["reply_timeout_s"] == 600
    for group in (service["spec"]["rayClusterConfig"]["headGroupSpec"],):
        told = environment(group["template"]["spec"]["containers"][0])
        assert told["TESSERA_LEASE_S"] == "7"
        assert "TESSERA_REPLY_TIMEOUT_S" not in told


def test_a_cache_is_filled_once_for_each_model():
    def jobs(**model: Any) -> list[str]:
        given = values(workers={"cache": {"enabled": True}}, models={"one": model})
        return [o["metadata"]["name"] for o in render(given) if o["kind"] == "Job"]

    (first,) = jobs(model="org/a")
    assert jobs(model="org/a", replicas=5) == [first]
    assert jobs(model="org/b") != [first]
    assert jobs(model="org/a", cache={"fill": False}) == []
