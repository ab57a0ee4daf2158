"""Checks values against JSON Schema, as far as ``fields`` uses it, and says in a sentence what would be right."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tessera.errors import InvalidRequest
from tessera.gateway.body.path import Path, written

Schema = Mapping[str, Any]
_Test = Callable[[Any], bool]

# OpenAPI's name of a format: as bounds, FastAPI would write these down in floating point, which rounds them.
_LONG = "int64"


class Rule:
    """A schema, compiled: every request is looked at, and nothing of it may cost more than a look-up or two.

    Args:
        schema: of a parsed JSON value.
    """

    def __init__(self, schema: Schema):
        kinds = schema.get("anyOf", [schema])
        self._right = _words(kinds)
        self._test = _any([_test(each) for each in kinds])
        # No value may be an object of more than one kind.
        self._members = rules_of({name: rule for each in kinds for name, rule in each.get("properties", {}).items()})

    def check(self, value: Any, path: Path) -> None:
        """Check a value.

        Args:
            path: where it stands.

        Raises:
            InvalidRequest: naming it, or what is wrong in it.
        """
        if not self._test(value):
            raise InvalidRequest(f"`{written(path)}` must be {self._right}.", param=written(path))
        if self._members and isinstance(value, dict):
            check_members(self._members, value, path)


def rules_of(schemas: Mapping[str, Schema]) -> Mapping[str, Rule]:
    """Rules for members of an object, from their schemas."""
    return {name: Rule(schema) for name, schema in schemas.items()}


def check_members(rules: Mapping[str, Rule], value: Mapping[str, Any], path: Path = ()) -> None:
    """Check each of an object's members for which there is a rule.

    Raises:
        InvalidRequest: naming the first that is wrong.
    """
    for name, member in value.items():
        if rule := rules.get(name):
            rule.check(member, (*path, name))


def _types(schema: Schema) -> list[str]:
    types = schema["type"]
    return [types] if isinstance(types, str) else types


def _tests(schema: Schema) -> dict[type, _Test]:
    """The test for each of Python's types that a value may have."""
    tests: dict[type, _Test] = {}
    for name in _types(schema):
        kinds, test = _TYPES[name](schema)
        tests |= dict.fromkeys(kinds, test)
    return tests


def _test(schema: Schema) -> _Test:
    tests = _tests(schema)

    def by_type(value: Any) -> bool:
        # A parser's values are of no derived types, so that a boolean is no number here.
        test = tests.get(type(value))
        return test is not None and test(value)

    return by_type


def _any(tests: list[_Test]) -> _Test:
    return tests[0] if len(tests) == 1 else lambda value: any(test(value) for test in tests)


def _anything(value: Any) -> bool:
    return True


def _number(schema: Schema) -> _Test:
    least, most = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    if (above := schema.get("exclusiveMinimum")) is not None:
        return lambda value: above < value <= most
    return lambda value: least <= value <= most


def _integer(schema: Schema) -> _Test:
    # In JSON 2.0 is an integer, and vLLM takes it for one.
    if schema.get("format") == _LONG:
        least = schema.get("minimum", -math.inf)
        return lambda value: value % 1 == 0 and value >= least and (abs(value) < 2**63 or _is_least(value))
    within = _number(schema)
    return lambda value: value % 1 == 0 and within(value)


def _is_least(value: float) -> bool:
    # In floating point, which parsers make of longer integers, the next ones below are rounded to it.
    return type(value) is int and value == -(2**63)


def _string(schema: Schema) -> _Test:
    if (choices := schema.get("enum")) is not None:
        return frozenset(choices).__contains__
    least = schema.get("minLength", 0)
    return lambda value: len(value) >= least


def _array(schema: Schema) -> _Test:
    least, most = schema.get("minItems", 0), schema.get("maxItems", math.inf)
    items = _tests(schema["items"])
    kinds = items.keys()

    def test(value: list[Any]) -> bool:
        found = set(map(type, value))
        if not (least <= len(value) <= most and found <= kinds):
            return False
        if int not in found:
            return all(items[type(each)](each) for each in value)
        # Prompts in tokens are long: of integers, the bounds are kept by all when they are by these two.
        item = items[int]
        fractions = [each for each in value if type(each) is float] if float in found else []
        return item(min(value)) and item(max(value)) and all(map(item, fractions))

    return test


def _object(schema: Schema) -> _Test:
    required = schema.get("required", ())
    return lambda value: all(name in value for name in required)


# By JSON Schema's name of a type: Python's types of such values, and the test of one of these.
_TYPES: Mapping[str, Callable[[Schema], tuple[frozenset[type], _Test]]] = {
    "null": lambda _: (frozenset([type(None)]), _anything),
    "boolean": lambda _: (frozenset([bool]), _anything),
    "integer": lambda schema: (frozenset([int, float]), _integer(schema)),
    "number": lambda schema: (frozenset([int, float]), _number(schema)),
    "string": lambda schema: (frozenset([str]), _string(schema)),
    "array": lambda schema: (frozenset([list]), _array(schema)),
    "object": lambda schema: (frozenset([dict]), _object(schema)),
}


def _words(kinds: Sequence[Schema]) -> str:
    """What a value has to be, such as "an integer of at least 1 or null"."""
    words: list[str] = []
    for each in kinds:
        for name in _types(each):
            words += ["true", "false"] if name == "boolean" else [_typed(name, each)]
    return " or ".join(words) if len(words) < 3 else f"{', '.join(words[:-1])}, or {words[-1]}"


def _typed(name: str, schema: Schema, *, several: bool = False) -> str:
    article = "an" if name[0] in "aio" else "a"
    words = name if name == "null" else f"{name}s" if several else f"{article} {name}"
    if schema.get("format") == _LONG and name == "integer":
        return f"{words} of 64 bits" + _bounds_in_words(schema).replace(" of", " and of")
    if name in ("integer", "number"):
        return words + _bounds_in_words(schema)
    if name == "string" and "enum" in schema:
        return "one of " + ", ".join(f"`{choice}`" for choice in schema["enum"])
    if name == "string" and schema.get("minLength"):
        return words + (" that are not empty" if several else " that is not empty")
    if name == "object" and not several and (required := schema.get("required")):
        return f"{words} with " + " and ".join(f"`{member}`" for member in required)
    if name == "array":
        most = f"at most {schema['maxItems']} " if "maxItems" in schema else ""
        items = (_typed(each, schema["items"], several=True) for each in _types(schema["items"]))
        return f"{words} of {most}{' or '.join(items)}"
    return words


def _bounds_in_words(schema: Schema) -> str:
    least, above, most = (schema.get(name) for name in ("minimum", "exclusiveMinimum", "maximum"))
    if above is not None:
        return f" above {above:,}" + (f" and at most {most:,}" if most is not None else "")
    if least is None:
        return ""
    return f" from {least:,} to {most:,}" if most is not None else f" of at least {least:,}"
