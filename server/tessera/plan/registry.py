"""All families, by the ``model_type`` of a model's configuration, or the name that a worker announced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tessera.plan.family import Family
from tessera.plan.gemma3 import Gemma3
from tessera.plan.idefics3 import Idefics3
from tessera.plan.internvl import InternVL
from tessera.plan.llava import Llava
from tessera.plan.llava_next import LlavaNext
from tessera.plan.llava_onevision import LlavaOnevision
from tessera.plan.molmo import Molmo
from tessera.plan.nvlm import NVLM
from tessera.plan.ovis import Ovis
from tessera.plan.ovis2_5 import Ovis25
from tessera.plan.parameters import Configuration, UnknownFamily
from tessera.plan.phi4mm import Phi4MM
from tessera.plan.pixtral import Mistral3, Pixtral
from tessera.plan.qwen3_vl import Qwen3VL
from tessera.plan.qwen_audio import QwenAudio
from tessera.plan.qwen_omni import Qwen3Omni, Qwen25Omni
from tessera.plan.qwen_vl import QwenVL

FAMILIES: tuple[type[Family], ...] = (
    QwenVL,
    Qwen3VL,
    Qwen25Omni,
    Qwen3Omni,
    InternVL,
    NVLM,
    Llava,
    LlavaNext,
    LlavaOnevision,
    Pixtral,
    Mistral3,
    Gemma3,
    Idefics3,
    QwenAudio,
    Phi4MM,
    Ovis,
    Ovis25,
    Molmo,
)


def read_family(configuration: Configuration) -> Family:
    """The family of a model, with its parameters.

    Raises:
        UnknownFamily: no family counts such a model, or one of its parameters is missing.
    """
    kind = configuration.model.text("model_type")
    reasons = []
    for family in FAMILIES:
        if kind in family.models:
            try:
                _check_options(family, configuration)
                return family.read(configuration)
            except UnknownFamily as error:
                reasons.append(str(error))
    raise UnknownFamily("; ".join(reasons) or f"no family counts a model of type {kind!r}")


def announced_family(value: Mapping[str, Any]) -> Family:
    """The family that a worker announced (``Family.to_json``).

    Raises:
        UnknownFamily: it announced none, one that only a newer version knows, or not all of its parameters.
    """
    name, parameters = value.get("family"), value.get("parameters")
    for family in FAMILIES:
        if family.name == name and isinstance(parameters, Mapping):
            return family.from_parameters(parameters)
    raise UnknownFamily(f"no family is called {name!r}")


def _check_options(family: type[Family], configuration: Configuration) -> None:
    for name in configuration.options.values:
        if name not in family.follows:
            raise UnknownFamily(f"--mm-processor-kwargs has `{name}`, which is not counted with")
