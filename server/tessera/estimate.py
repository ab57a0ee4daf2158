"""``tessera estimate``: what files would be to a model, in tokens, and what it would get to see of them."""

from __future__ import annotations

import base64
import mimetypes
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

TIMEOUT_S = 120.0
DETAILS = ("low", "high", "auto")
# By what names end in, where the machine's own list does not know it.
_KINDS = {".heic": "image", ".avif": "image", ".webp": "image", ".mkv": "video", ".webm": "video", ".opus": "audio"}


class EstimateFailed(Exception):
    """Nothing to show; the message says why."""


def part_of(path: Path, detail: str | None) -> dict[str, Any]:
    """A file as a part of a message.

    Raises:
        EstimateFailed: it cannot be read, or is of no kind that is known by its name.
    """
    kind = _KINDS.get(path.suffix.lower()) or (mimetypes.guess_type(path.name)[0] or "").partition("/")[0]
    if kind not in ("image", "video", "audio"):
        raise EstimateFailed(f"{path}: by its name it is no image, video or sound.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise EstimateFailed(f"{path}: {error.strerror}.") from error
    # What it is, the server finds out by its bytes.
    value = {"url": f"data:application/octet-stream;base64,{base64.b64encode(data).decode()}"}
    if detail is not None and kind != "audio":
        value["detail"] = detail
    return {"type": f"{kind}_url", f"{kind}_url": value}


class Server:
    """A gateway.

    Args:
        url: its address.
        key: for it; empty: it asks for none.
    """

    def __init__(self, url: str, key: str):
        self._url = url.rstrip("/")
        self._headers = {"Content-Type": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"

    def model(self) -> str:
        """The one model that it serves.

        Raises:
            EstimateFailed: there are none, or several.
        """
        names = [model["id"] for model in self._ask("/v1/models")["data"]]
        if len(names) != 1:
            served = ", ".join(names) or "none at the moment"
            raise EstimateFailed(f"Say which model: `--model`. The server at {self._url} serves: {served}.")
        return str(names[0])

    def estimate(self, body: dict[str, Any], *, preview: bool) -> dict[str, Any]:
        """What it answers.

        Raises:
            EstimateFailed: it cannot be reached, or refuses.
        """
        return self._ask("/v1/estimate" + ("?preview=true" if preview else ""), orjson.dumps(body))

    def _ask(self, path: str, body: bytes | None = None) -> dict[str, Any]:
        request = urllib.request.Request(self._url + path, body, self._headers)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
                answer: dict[str, Any] = orjson.loads(response.read())
                return answer
        except urllib.error.HTTPError as error:
            with error:
                raise EstimateFailed(_refusal(error.code, error.read())) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise EstimateFailed(f"No answer from {self._url} ({reason}): is `tessera up` running? `--url`.") from None


def run_estimate(
    server: Server,
    files: Sequence[Path],
    model: str | None,
    detail: str | None,
    budget: int | None,
    folder: Path | None,
) -> None:
    """Ask, and show the answer.

    Args:
        model: None: the one that the server serves.
        detail: of all images and videos.
        budget: ``visual_token_budget``.
        folder: where pictures go; None: none are drawn.

    Raises:
        EstimateFailed: see there.
    """
    if detail is not None and detail not in DETAILS:
        raise EstimateFailed(f"`--detail` is one of {', '.join(DETAILS)}.")
    parts = [part_of(path, detail) for path in files]
    body: dict[str, Any] = {"model": model or server.model(), "messages": [{"role": "user", "content": parts}]}
    if budget is not None:
        body["visual_token_budget"] = budget
    answer = server.estimate(body, preview=folder is not None)
    console = Console(highlight=False)
    console.print(_table(files, answer))
    console.print(_summary(answer))
    if folder is not None:
        for path in _save(files, answer["parts"], folder):
            console.print(f"drawn: {path}")


def _table(files: Sequence[Path], answer: dict[str, Any]) -> Table:
    table = Table(title=f"{answer['model']}, counted as {answer['planned_as'] or 'only its own processor knows'}")
    for column in ("file", "kind", "size", "to the model", "tiles, frames", "tokens", "at least"):
        table.add_column(column, justify="right" if column in ("tokens", "at least") else "left")
    for path, part in zip(files, answer["parts"], strict=True):
        tokens = "?" if part["tokens"] is None else f"{part['tokens']}{'' if part['exact'] else ' (about)'}"
        table.add_row(
            path.name,
            part["modality"],
            _size(part["size"]) or f"{part['duration_s']:.1f} s",
            _size(part["planned_size"]),
            _pieces(part),
            tokens,
            "" if part["least_tokens"] is None else str(part["least_tokens"]),
        )
    return table


def _pieces(part: dict[str, Any]) -> str:
    if part["times_s"] is not None:
        times = part["times_s"]
        return f"{len(times)} frames, {times[0]:.1f} to {times[-1]:.1f} s"
    tiles = part["tiles"]
    if tiles is None or tiles["columns"] * tiles["rows"] == 1:
        return ""
    return f"{tiles['columns']}x{tiles['rows']}{' and the whole' if tiles['thumbnail'] else ''}"


def _size(size: dict[str, int] | None) -> str:
    return f"{size['width']}x{size['height']}" if size else ""


def _summary(answer: dict[str, Any]) -> str:
    media = sum(answer["media_tokens"].values())
    fits = {True: "fits", False: "does not fit", None: "may fit, by what is known"}[answer["fits"]]
    words = f"{media} tokens of media; the model has room for {answer['max_model_len']}: it {fits}."
    reasons = {part["reason"] for part in answer["parts"] if part["reason"]}
    if answer["fitting_budget"] is not None:
        words += f" With `--budget {answer['fitting_budget']}` it would."
    if price := answer["price"]:
        words += f" {price['prompt']:.6f} {price['currency']} for the prompt."
    return " ".join([words, *sorted(reasons)])


def _save(files: Sequence[Path], parts: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
    saved = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for i, (path, part) in enumerate(zip(files, parts, strict=True), 1):
            if part["preview"] is not None:
                saved.append(folder / f"{i}-{path.stem}.png")
                saved[-1].write_bytes(base64.b64decode(part["preview"].partition(",")[2]))
    except OSError as error:
        raise EstimateFailed(f"{folder}: {error.strerror}.") from error
    return saved


def _refusal(status: int, answer: bytes) -> str:
    try:
        error = orjson.loads(answer)["error"]
        where = f" ({error['param']})" if error.get("param") else ""
        return f"The server refuses it, {status} {error['code']}{where}: {error['message']}"
    except (ValueError, KeyError, TypeError):
        return f"The server answers {status}, which is no answer of a gateway: is the address right?"
