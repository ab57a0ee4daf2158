"""Lets vLLM start where torchvision, torchaudio and torchcodec do not match the installed torch.

The CPU build of torch comes without matching builds of these three on the usual index. What vLLM and transformers
need of torchvision are its pure-Python transforms, which only want the schemas of two operators; the other two are
not needed at all (media reaches the engine decoded), but a package that raises ``OSError`` when imported is worse
than one that is absent. vLLM calls ``activate`` in each of its processes, before it imports any of them, as a plug-in
of the group ``vllm.platform_plugins``; general plug-ins come too late. Where the real libraries load, nothing is done.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

_library: Any = None  # keeps the schemas defined for as long as the process lives


def activate() -> None:
    """Make torchvision importable and hide what cannot be loaded. Returns None: it is no platform."""
    global _library
    import torch

    if _library is None and not _loads("torchvision"):
        _library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        _library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    for name in ("torchaudio", "torchcodec"):
        if not _loads(name):
            sys.modules[name] = None  # type: ignore[assignment]  # "import" now says that there is none


def _loads(name: str) -> bool:
    if name in sys.modules:
        return sys.modules[name] is not None
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    except (OSError, RuntimeError):
        for module in [m for m in sys.modules if m == name or m.startswith(f"{name}.")]:
            del sys.modules[module]
        return False
    return True
