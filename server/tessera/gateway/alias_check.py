"""What an alias may stand for."""

from __future__ import annotations

from typing import Any

from tessera.errors import InvalidRequest, MissingField, ModelNotFound
from tessera.gateway.catalogue import Catalogue

LONGEST_NAME = 256
MOST_TARGETS = 16
MOST_WEIGHT = 1_000_000


def check_name(name: str) -> None:
    """Raises ``InvalidRequest`` where it can be no alias."""
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable() or name != name.strip():
        raise InvalidRequest(
            f"The name of an alias has 1 to {LONGEST_NAME} printable characters, without spaces around it.",
            param="alias",
        )


def check_targets(catalogue: Catalogue, name: str, given: Any) -> dict[str, int]:
    """The targets of an alias, by their weights.

    Args:
        catalogue: just refreshed.

    Raises:
        MissingField, InvalidRequest, ModelNotFound, NoWorker: naming the field.
        QueueUnavailable: Redis does not answer, so that there is no knowing.
    """
    if given is None:
        raise MissingField("`targets` is required: the models that it stands for, and their weights.", param="targets")
    if not isinstance(given, dict) or not 0 < len(given) <= MOST_TARGETS:
        raise InvalidRequest(
            f'`targets` must be an object of 1 to {MOST_TARGETS} models or adapters, and their weights: {{"a": 90, '
            '"b": 10}.',
            param="targets",
        )
    for target, weight in given.items():
        if type(weight) is not int or not 0 <= weight <= MOST_WEIGHT:
            raise InvalidRequest(
                f"A weight is a whole number from 0 to {MOST_WEIGHT:,}; 0: it gets no requests.",
                param=f"targets.{target}",
            )
    if not any(given.values()):
        raise InvalidRequest("One weight at least must be above 0.", param="targets")
    for target in given:
        _check_target(catalogue, name, target)
    return given


def _check_target(catalogue: Catalogue, name: str, target: str) -> None:
    if catalogue.found(target) is not None:
        return
    if target == name:
        raise InvalidRequest(f"`{name}` cannot stand for itself: no model has that name.", param=f"targets.{target}")
    if (alias := catalogue.alias(target)) is not None:
        meant = ", ".join(f"`{each}`" for each in alias.targets)
        raise InvalidRequest(
            f"`{target}` is an alias itself, and an alias stands for models and adapters: name {meant}.",
            param=f"targets.{target}",
        )
    error = catalogue.missing(target, [target])
    error.param = f"targets.{target}"
    if isinstance(error, ModelNotFound):
        error.message += " Start its workers, or load the adapter, first."
    raise error
