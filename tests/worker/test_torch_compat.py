from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SERVER = Path(__file__).parents[2] / "server"

# A torch that is quick to import stands in for the real one: what matters is what is done with it.
SCRIPT = """
import sys, types
defined = []
class Library:
    def __init__(self, *name): defined.append(name)
    def define(self, schema): defined.append(schema)
torch = types.ModuleType("torch")
torch.library = types.SimpleNamespace(Library=Library)
sys.modules["torch"] = torch
from tessera.worker import torch_compat
assert torch_compat.activate() is None
assert torch_compat.activate() is None
hidden = []
for name in ("torchaudio", "torchcodec"):
    try:
        __import__(name)
    except ImportError:
        hidden.append(name)
print(len(defined), ",".join(hidden), "torchvision" in sys.modules, "torchaudio.part" in sys.modules)
"""


def activate(folder: Path, **packages: str) -> str:
    for name, source in packages.items():
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(source)
        (folder / name / "part.py").write_text("")
    code = f"import sys; sys.path[:0] = [{str(folder)!r}, {str(SERVER)!r}]\n" + SCRIPT
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("error", ["OSError('libcudart.so')", "RuntimeError('operator nms')", "ImportError('x')"])
def test_packages_that_cannot_load_are_hidden(tmp_path: Path, error: str) -> None:
    broken = f"from {{name}} import part\nraise {error}"
    packages = {name: broken.format(name=name) for name in ("torchvision", "torchaudio", "torchcodec")}
    assert activate(tmp_path, **packages).startswith("3 torchaudio,torchcodec False")


def test_packages_that_load_are_left_alone(tmp_path: Path) -> None:
    assert activate(tmp_path, torchvision="", torchaudio="", torchcodec="") == "0  True False"
