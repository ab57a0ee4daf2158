"""How a model's media is counted: the family of its plans, from what vLLM has loaded of its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import structlog

from tessera.plan import Configuration, UnknownFamily, read_family

log = structlog.get_logger()

# Of the objects that processors are, by the name that some give them.
_IMAGE, _VIDEO, _AUDIO = ("image_processor",), ("video_processor",), ("feature_extractor", "audio_processor")


def announce_family(
    config: Any, load_processor: Callable[[], Any], options: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The family and its parameters as a card has them; empty where only the processor itself can count.

    Args:
        config: the model's configuration (transformers' ``PreTrainedConfig``).
        load_processor: gives that of all its modalities (transformers' ``ProcessorMixin``, or a class of vLLM's).
        options: what the operator tells the processor (``--mm-processor-kwargs``).
    """
    try:
        processor = load_processor()
        configuration = Configuration.of(
            config.to_dict(),
            image=_values(processor, _IMAGE),
            video=_values(processor, _VIDEO),
            audio=_values(processor, _AUDIO),
            processor=_plain(vars(processor)),
            tokenizer=_plain(getattr(getattr(processor, "tokenizer", None), "init_kwargs", {})),
            options=options,
        )
        return read_family(configuration).to_json()
    except UnknownFamily as error:
        log.info("media_not_planned", reason=str(error))
    except Exception as error:  # a model's own code, which may do anything; a worker serves without its plan
        log.warning("media_not_planned", reason=repr(error))
    return {}


def _values(processor: Any, names: tuple[str, ...]) -> dict[str, Any]:
    for name in names:
        if (part := getattr(processor, name, None)) is not None:
            return _plain(part.to_dict() if hasattr(part, "to_dict") else vars(part))
    return {}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON can hold of it."""
    return {name: plain for name, value in values.items() if (plain := _json(value)) is not None}


def _json(value: Any) -> Any:
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_json(each) for each in value]
    # transformers keeps sizes in objects that can be read as mappings.
    if isinstance(value, Mapping) or hasattr(value, "keys"):
        return _plain(dict(value))
    return None
