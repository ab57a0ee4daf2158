"""The checkpoint as a folder: complete, or not there.

It is built in a temporary sibling folder and renamed, so an interrupted build leaves nothing that looks like a model.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from models.tiny import configuration as c
from models.tiny.bfloat16 import save_bfloat16
from models.tiny.bigrams import count_bigrams
from models.tiny.tokenizer import END_OF_TURN, read_corpus, tokenizer_config, train_tokenizer
from models.tiny.weights import make_weights

DEFAULT_SEED = 3  # of the first fourteen, the one whose greedy answers differ most and repeat themselves least
RECIPE_FILE = "recipe.sha256"
_SOURCE_SUFFIXES = (".py", ".txt", ".jinja")
_ROWS = 64  # the embedding is padded to a multiple of this many rows, as tensor parallelism wants it


def recipe(seed: int) -> str:
    """Return the SHA-256 of everything that decides what is built: this package's source, and ``seed``."""
    digest = hashlib.sha256(f"seed={seed}\n".encode())
    sources = (path for path in Path(__file__).parent.iterdir() if path.suffix in _SOURCE_SUFFIXES)
    for path in sorted(sources):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def is_complete(out_dir: Path, seed: int = DEFAULT_SEED) -> bool:
    """Return whether ``out_dir`` holds the checkpoint that ``build`` would make."""
    try:
        return (out_dir / RECIPE_FILE).read_text().strip() == recipe(seed)
    except OSError:
        return False


def build(out_dir: Path, *, seed: int = DEFAULT_SEED, force: bool = False) -> str:
    """Build the checkpoint in ``out_dir`` unless it is there already, and return one line that describes it.

    Raises:
        FileExistsError: ``out_dir`` is a folder, not empty, that does not look like a checkpoint, or is a file.
    """
    if force or not is_complete(out_dir, seed):
        _refuse_strangers(out_dir)
        out_dir.parent.mkdir(parents=True, exist_ok=True)
        work_dir = Path(tempfile.mkdtemp(prefix=f".{out_dir.name}.", dir=out_dir.parent))
        try:
            _write(work_dir, seed)
            _open_to_readers(work_dir)
            _replace(work_dir, out_dir)
        finally:
            shutil.rmtree(work_dir, ignore_errors=True)
    return _describe(out_dir)


def _refuse_strangers(out_dir: Path) -> None:
    if not out_dir.exists():
        return
    names = {path.name for path in out_dir.iterdir()} if out_dir.is_dir() else {""}
    if names and not names & {RECIPE_FILE, "config.json", "model.safetensors"}:
        raise FileExistsError(f"{out_dir} exists and is not a checkpoint; not replacing it")


def _open_to_readers(folder: Path) -> None:
    """Undo the owner-only mode of ``mkdtemp``, which would keep out a server that runs as another user."""
    folder.chmod(0o755)
    for path in folder.iterdir():
        path.chmod(0o644)


def _replace(work_dir: Path, out_dir: Path) -> None:
    """Put ``work_dir`` in the place of ``out_dir``; of several builders at once the last one wins."""
    while True:
        if out_dir.exists():
            retired = Path(tempfile.mkdtemp(prefix=f".{out_dir.name}.", dir=out_dir.parent))
            # A folder can only be renamed onto an empty one; the old checkpoint moves aside in one step.
            with contextlib.suppress(FileNotFoundError):
                os.rename(out_dir, retired)
            shutil.rmtree(retired)
        try:
            os.rename(work_dir, out_dir)
        except OSError:
            if not out_dir.exists():
                raise
        else:
            return


def _write(folder: Path, seed: int) -> None:
    documents = read_corpus()
    tokenizer = train_tokenizer(documents)
    vocabulary = -(-tokenizer.get_vocab_size() // _ROWS) * _ROWS
    bigrams = count_bigrams([tokenizer.encode(text).ids for text in _turns(documents)], vocabulary)
    stop, quote, end = (tokenizer.token_to_id(token) for token in (".", '"', END_OF_TURN))
    # Where a grammar forbids to end the turn, to end the string must be the next best thing, or it never ends.
    bigrams[stop, quote] += bigrams[stop, end] / 2
    weights = make_weights(bigrams, seed)

    tokenizer.save(str(folder / "tokenizer.json"))
    save_bfloat16(weights, folder / "model.safetensors")
    shutil.copyfile(Path(__file__).parent / "chat_template.jinja", folder / "chat_template.jinja")
    _write_json(folder / "config.json", c.model_config(vocabulary, tokenizer.token_to_id))
    _write_json(folder / "generation_config.json", c.generation_config(tokenizer.token_to_id))
    _write_json(folder / "preprocessor_config.json", c.preprocessor_config())
    _write_json(folder / "video_preprocessor_config.json", c.video_preprocessor_config())
    _write_json(folder / "tokenizer_config.json", tokenizer_config(c.CONTEXT_LENGTH, c.PIXELS))
    (folder / RECIPE_FILE).write_text(recipe(seed) + "\n")


def _turns(documents: list[str]) -> list[str]:
    """Return what the model learns to say, each up to the end of its turn.

    Prose starts after the line break of "assistant\\n", and comes in overlapping pairs lest every second full stop end
    an answer. JSON starts after nothing, so that it is spoken only where a grammar asks for it.
    """
    prose = [text for text in documents if not text.startswith("{")]
    data = [text for text in documents if text.startswith("{")]
    pairs = [f"\n{first} {second}" for first, second in zip(prose, prose[1:] + prose[:1], strict=True)]
    return [text + END_OF_TURN for text in pairs + data]


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _describe(folder: Path) -> str:
    weights = (folder / "model.safetensors").stat().st_size
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    vocabulary = config["thinker_config"]["text_config"]["vocab_size"]
    return f"Qwen2.5-Omni thinker, {weights / 2e6:.1f} M parameters, {vocabulary} tokens, {weights / 1e6:.1f} MB"
