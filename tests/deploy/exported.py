"""Names of metrics: those that an expression uses, and those that there are."""

from __future__ import annotations

import functools
import importlib.util
import re
from pathlib import Path

from prometheus_client import REGISTRY

# To import them registers all metrics.
import tessera.gateway.app
import tessera.telemetry.worker_media  # noqa: F401

_SUFFIXES = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}
_VLLM = re.compile(r'self\._(gauge|counter|histogram)_cls\(\s*name="(vllm:\w+)"')


def used_metrics(expression: str) -> set[str]:
    """Those of this project, of its processes and of vLLM."""
    return set(re.findall(r"\b(?:tessera|process)_\w+|\bvllm:\w+", expression))


@functools.cache
def exported_metrics() -> frozenset[str]:
    """All that gateways and workers tell, by the names of their series."""
    own = {f.name + suffix for f in REGISTRY.collect() for suffix in _SUFFIXES.get(f.type, [""])}
    return frozenset(own | _of_vllm())


def _of_vllm() -> set[str]:
    """By its source: to import it takes long."""
    package = importlib.util.find_spec("vllm")
    assert package is not None
    assert package.origin is not None
    source = (Path(package.origin).parent / "v1" / "metrics" / "loggers.py").read_text()
    return {name + suffix for kind, name in _VLLM.findall(source) for suffix in _SUFFIXES.get(kind, [""])}
