"""A model's folder, looked over before an engine spends a minute on it and fails with a traceback."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import Any

import orjson

CHECKSUMS = "SHA256SUMS"
_CONFIG = "config.json"
_INDEX_SUFFIX = ".safetensors.index.json"
_LENGTH = struct.Struct("<Q")
# The format's own limit (https://github.com/huggingface/safetensors).
_MAX_HEADER_BYTES = 100_000_000
_CHUNK_BYTES = 1 << 20


class CheckpointError(ValueError):
    """A file of the model is damaged or missing; the message names it and says what is wrong."""


def verify(model: str) -> None:
    """Look for what an interrupted download, a full disk or a careless copy leaves behind.

    JSON files must parse; each safetensors file must be as long as its header says; files that an index names must be
    there; and where there are checksums, they must agree. Of weights without checksums only the headers are read.

    Args:
        model: folder with the model's files; a hub's name is left to vLLM.

    Raises:
        CheckpointError: see there.
    """
    folder = Path(model)
    if not folder.is_dir():
        return
    try:
        if not (folder / _CONFIG).is_file():
            raise CheckpointError(f"{folder}: there is no {_CONFIG}, so this is no model")
        for path in sorted(folder.glob("*.json")):
            content = _parse(path, path.read_bytes())
            if path.name.endswith(_INDEX_SUFFIX):
                _check_index(path, content)
        for path in sorted(folder.glob("*.safetensors")):
            _check_weights(path)
        if (folder / CHECKSUMS).is_file():
            _check_sums(folder / CHECKSUMS)
    except OSError as error:
        raise CheckpointError(f"{error.filename or folder}: it cannot be read ({error.strerror})") from None


def _parse(path: Path, text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise CheckpointError(f"{path}: it is no valid JSON ({error})") from None


def _check_index(path: Path, content: Any) -> None:
    names = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(names, dict):
        raise CheckpointError(f"{path}: it has no weight_map")
    for name in sorted(set(names.values())):
        if not (path.parent / name).is_file():
            raise CheckpointError(f"{path.parent / name}: it is missing, and {path.name} names it")


def _check_weights(path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_LENGTH.size)
        length = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else 0
        if not 0 < length <= min(_MAX_HEADER_BYTES, size - _LENGTH.size):
            raise CheckpointError(f"{path}: it is no safetensors file ({size} bytes), or one that was cut off")
        header = _parse(path, file.read(length))
    try:
        end = max(
            (int(tensor["data_offsets"][1]) for name, tensor in header.items() if name != "__metadata__"), default=0
        )
    except (AttributeError, KeyError, IndexError, TypeError, ValueError):
        raise CheckpointError(f"{path}: its header does not describe tensors") from None
    expected = _LENGTH.size + length + end
    if size != expected:
        raise CheckpointError(f"{path}: it has {size} bytes, and its header promises {expected}")


def _check_sums(sums: Path) -> None:
    for line in sums.read_text(encoding="utf-8").splitlines():
        wanted, _, name = line.partition("  ")
        path = sums.parent / name
        if not path.is_file():
            raise CheckpointError(f"{path}: it is missing, and {CHECKSUMS} names it")
        if _sha256(path) != wanted:
            raise CheckpointError(f"{path}: its content is not what {CHECKSUMS} says")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
