"""What `helm test` sends: a request with an image, through the gateway to a worker.

Usage: request.py URL MODEL SECONDS. An empty model is the first one that the gateway lists. ``API_KEY`` is sent.
"""

import base64
import json
import os
import struct
import sys
import time
import urllib.error
import urllib.request
import zlib


def png(size: int = 64) -> bytes:
    """A red square."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    rows = (b"\0" + b"\xff\0\0" * size) * size
    head = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def call(url: str, body: object = None, timeout_s: float = 60) -> dict:
    """The JSON that an address answers with."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(url, data, headers)
    with urllib.request.urlopen(request, timeout=timeout_s) as response:
        return json.load(response)


def ask(url: str, model: str, timeout_s: float) -> str:
    """What the model says of the image. Raises OSError where there is no answer."""
    model = model or call(f"{url}/v1/models")["data"][0]["id"]
    image = "data:image/png;base64," + base64.b64encode(png()).decode()
    content = [
        {"type": "text", "text": "Which colour is this?"},
        {"type": "image_url", "image_url": {"url": image}},
    ]
    body = {"model": model, "messages": [{"role": "user", "content": content}], "max_tokens": 16}
    answer = call(f"{url}/v1/chat/completions", body, timeout_s)
    tokens = answer["usage"]["completion_tokens"]
    if not tokens:
        raise OSError(f"{model} answered with no token: {answer}")
    return f"{model}: {answer['choices'][0]['message']['content']!r} ({tokens} tokens)"


def main(url: str, model: str, seconds: str) -> int:
    """Try until the time is over: workers may still be loading."""
    deadline = time.monotonic() + float(seconds)
    while True:
        try:
            told = ask(url, model, max(1.0, deadline - time.monotonic()))
        except (OSError, LookupError) as error:
            told = error.read().decode(errors="replace") if isinstance(error, urllib.error.HTTPError) else error
            print(f"no answer yet: {told}", file=sys.stderr, flush=True)
        else:
            print(told)
            return 0
        if time.monotonic() >= deadline:
            return 1
        time.sleep(2)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
