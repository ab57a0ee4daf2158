"""What stands beside the output while its batch runs, so that the same command goes on with it."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson


@dataclass(frozen=True, slots=True)
class Note:
    """Of a batch that was begun.

    Attributes:
        input_sha256: what it was begun with.
    """

    url: str
    batch_id: str
    input_sha256: str

    @staticmethod
    def beside(output: Path) -> Path:
        """Where it stands."""
        return output.with_name(f"{output.name}.batch")

    @classmethod
    def read(cls, output: Path) -> Note | None:
        """The one beside an output, if there is one. Raises ValueError: that is something else."""
        path = cls.beside(output)
        try:
            return cls(**orjson.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} was not written by this command.") from error

    def write(self, output: Path) -> None:
        """Put it beside an output; whole, or not at all."""
        path = self.beside(output)
        part = path.with_name(f"{path.name}.part")
        part.write_bytes(orjson.dumps(asdict(self)))
        part.replace(path)


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
