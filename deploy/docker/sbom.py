"""Lists what images install, as CycloneDX has it: ``python -m deploy.docker.sbom FOLDER [IMAGE ROOT]`` (`make sbom`).

By CycloneDX' own tool, from the locked requirements. It is in an environment of its own: images have nothing of it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path

HERE = Path(__file__).parent
IMAGES = ("gateway", "worker-cpu", "worker-cuda")
TOOL = Path(sys.prefix) / "sbom" / "bin" / "cyclonedx-py"
# Newer readers take older formats, not the other way round.
FORMAT = "1.6"

Versions = dict[str, str]


def lock_of(image: str) -> Path:
    """What an image installs."""
    return HERE / f"requirements-{image}.txt"


def write(image: str, folder: Path) -> Path:
    """Write an image's list into a folder. Returns the file; raises ``CalledProcessError``."""
    file = folder / f"{image}.cdx.json"
    project = HERE.parents[1] / "pyproject.toml"
    argv = [TOOL, "requirements", lock_of(image), "--pyproject", project, "--short-PURLs", "--output-reproducible"]
    argv += ["--of", "JSON", "--sv", FORMAT, "--validate", "-o", file]
    subprocess.run(list(map(str, argv)), check=True)
    return file


def locked(image: str) -> Versions:
    """What its requirements say, by name."""
    lines = lock_of(image).read_text().splitlines()
    return {
        _normal(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)", "\n".join(lines), re.MULTILINE)
    }


def listed(file: Path) -> Versions:
    """What a list says, by name."""
    return {_normal(part["name"]): part["version"] for part in json.loads(file.read_text())["components"]}


def installed(root: Path) -> Versions:
    """What is in an unpacked image, beside our own."""
    folders = [str(path) for path in root.glob("opt/tessera/lib/python3.*/site-packages")]
    found: list[Distribution] = list(distributions(path=folders))
    return {_normal(one.name): one.version for one in found if one.name != "tessera-server"}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main(folder: Path, unpacked: str = "", root: Path = Path()) -> None:
    """Write all lists. Ends with a message where that of an image is not what is in it, unpacked."""
    folder.mkdir(parents=True, exist_ok=True)
    for image in IMAGES:
        file = write(image, folder)
        print(f"{file}: {len(listed(file))} packages")
    if unpacked and (there := installed(root)) != (told := listed(folder / f"{unpacked}.cdx.json")):
        sys.exit(
            f"The image has {sorted(there.items() - told.items())} and lacks {sorted(told.items() - there.items())}."
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:3], *map(Path, sys.argv[3:]))
