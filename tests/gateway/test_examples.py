"""The answers in the description: one for each that it describes, of the form that it says."""

from __future__ import annotations

import json

import pytest
from fastapi.routing import APIRoute
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter

from tessera.gateway.app import create_app
from tessera.gateway.examples import load_examples
from tessera.settings import Settings

JSON, STREAM = "application/json", "text/event-stream"
APP = create_app(Settings())
API = APP.openapi()
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, operations in API["paths"].items()
    for method, operation in operations.items()
}
EXAMPLES = load_examples()


def answers(kind):
    """What is said of answers of a kind that are no errors, by operation."""
    found = {}
    for name, operation in OPERATIONS.items():
        for status, answer in operation["responses"].items():
            if status.startswith("2") and kind in answer.get("content", {}):
                found[name] = answer["content"][kind]
    return found


def test_every_answer_in_json_has_an_example_as_it_is_described():
    described = answers(JSON)
    assert len(described) > 50
    for name, content in described.items():
        assert "example" in content, f"{name}: put an answer of it into gateway/examples"
        schema = {**content["schema"], "components": API["components"]}
        Draft202012Validator(schema).validate(content["example"])


def test_every_stream_has_an_example_of_events():
    described = answers(STREAM)
    assert len(described) > 5
    for name, content in described.items():
        assert content["example"].endswith("\n\n"), name
        events = content["example"].removesuffix("\n\n").split("\n\n")
        assert len(events) > 1
        for event in events:
            fields = dict(line.split(": ", 1) for line in event.splitlines())
            assert fields.keys() <= {"id", "event", "data"}, name
            told = {} if fields["data"] == "[DONE]" else json.loads(fields["data"])
            assert told.get("type", fields.get("event")) == fields.get("event") or "event" not in fields, name


def test_each_is_of_an_answer_that_there_is():
    used = {name: set() for name in EXAMPLES}
    for kind, part in ((JSON, "document"), (STREAM, "stream")):
        for name in answers(kind):
            used[name].add(part)
    assert {name: set(example) for name, example in EXAMPLES.items()} == used


MODELS = {
    f"{method} {route.path_format}": route.response_model
    for route in APP.routes
    if isinstance(route, APIRoute) and route.response_model is not None
    for method in route.methods
}


@pytest.mark.parametrize("name", sorted(MODELS.keys() & answers(JSON).keys()))
def test_those_of_this_servers_own_are_whole(name):
    """With each member that it gives, and none that it does not."""
    kind, example = TypeAdapter(MODELS[name]), answers(JSON)[name]["example"]
    assert kind.dump_python(kind.validate_python(example), mode="json") == example
