"""bfloat16 without torch: the precision that vLLM runs in by default, on CPU too, and the faster one there."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def to_bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return the bits of ``values`` in bfloat16, rounded to nearest, ties to even; same shape. Finite values only."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def save_bfloat16(tensors: dict[str, NDArray[np.float32]], path: Path) -> None:
    """Write ``tensors`` to a safetensors file, in bfloat16.

    By hand, since numpy has no such type and ``safetensors.numpy`` therefore cannot. The format: the length of the
    header in 8 bytes, little-endian; the header, JSON padded with spaces to 8 bytes; the tensors' bytes
    (https://huggingface.co/docs/safetensors).
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    blobs = []
    offset = 0
    for name, tensor in tensors.items():
        blob = to_bfloat16(tensor).tobytes()
        header[name] = {"dtype": "BF16", "shape": tensor.shape, "data_offsets": (offset, offset + len(blob))}
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(blobs))
