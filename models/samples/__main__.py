"""Command line: ``python -m models.samples OUT_DIR``."""

import argparse
from pathlib import Path

from models.samples import audio, image, video


def main() -> None:
    """Write the three samples and say in one line what was written."""
    parser = argparse.ArgumentParser(prog="python -m models.samples", description=__doc__)
    parser.add_argument("out_dir", type=Path, metavar="OUT_DIR", help="folder to write to, made if it is missing")
    out_dir: Path = parser.parse_args().out_dir
    out_dir.mkdir(parents=True, exist_ok=True)
    samples = {"square.png": image(), "ball.mp4": video(), "beeps.wav": audio()}
    for name, content in samples.items():
        (out_dir / name).write_bytes(content)
    sizes = ", ".join(f"{name} {len(content) / 1000:.1f} kB" for name, content in samples.items())
    print(f"wrote {out_dir}: {sizes}")


if __name__ == "__main__":
    main()
