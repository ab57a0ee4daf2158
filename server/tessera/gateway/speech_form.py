"""A form with a sound in it, as the JSON that all other endpoints get: from there on it is a request like theirs."""

from __future__ import annotations

import asyncio
import math
import re
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.requests import Request

from tessera.gateway.body import Endpoint, Share
from tessera.gateway.endpoints.hearing import FILE
from tessera.gateway.form import OVERHEAD_BYTES, Beside, Form, read_form
from tessera.settings import Settings

_BESIDE = Beside(fields=64, field_bytes=OVERHEAD_BYTES // 2, lists=True, alone=True)
_FLAGS = {"true": True, "false": False, "1": True, "0": False}
_INTEGER = re.compile(r"-?[0-9]{1,20}", re.ASCII)
_LONGEST_NUMBER = 64


async def read_speech(request: Request, endpoint: Endpoint, share: Share, settings: Settings) -> bytearray:
    """All of a form, with its file in base64, and its fields as what the endpoint says that they are.

    Args:
        share: of the gateway's room for bodies; it grows with what arrives.

    Raises:
        as ``read_form``, and ``BodyMemoryFull``.
    """
    file = bytearray()

    async def take(piece: bytes) -> None:
        await share.grow(len(piece))
        file.extend(piece)

    most_bytes = min(settings.media_max_bytes, settings.max_body_bytes)
    limit_s = settings.body_timeout_s
    form = await read_form(request, FILE, take, most_bytes=most_bytes, limit_s=limit_s, beside=_BESIDE)
    # Both are there for a moment.
    await share.grow(len(file) * 4 // 3 + OVERHEAD_BYTES)
    raw = await asyncio.to_thread(_as_json, form, file, endpoint.fields)
    share.shrink(len(raw))
    return raw


def _as_json(form: Form, file: bytearray, schemas: Mapping[str, Mapping[str, Any]]) -> bytearray:
    # Forms of web pages send fields that nobody filled in.
    said = {name: _value(text, schemas.get(name, {})) for name, text in form.fields.items() if text}
    raw = bytearray(orjson.dumps({**said, **form.lists}))
    if form.has_file:
        end = raw.pop()
        raw += (b"," if len(raw) > 1 else b"") + b'"%b":"' % FILE.encode()
        raw += b64encode(file)
        raw += b'"'
        raw.append(end)
    return raw


def _value(text: str, schema: Mapping[str, Any]) -> Any:
    """What a text says, or itself where it is nothing of what it should be: the schema's check tells of that."""
    kinds = schema.get("type", ())
    if "boolean" in kinds:
        return _FLAGS.get(text.lower(), text)
    if "integer" in kinds:
        return int(text) if _INTEGER.fullmatch(text) else text
    if "number" in kinds and len(text) <= _LONGEST_NUMBER:
        try:
            value = float(text)
        except ValueError:
            return text
        return value if math.isfinite(value) else text
    return text
