"""``python -m loadtests.bench_media``: decoding in the sandbox beside vLLM's own media path, in one run."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import orjson
import psutil
import typer
import uvloop
from rich.console import Console
from rich.table import Table

from loadtests import media_files, media_gateway
from loadtests.chaos.release import checked_out
from loadtests.summary import Spread, percentile
from tessera.media import DecodeJob, MediaSpec, Modality, SandboxDecoder
from tessera.media.sniff import identify
from tessera.settings import Settings

VIDEO_FRAMES = 64
TICK_S = 0.005


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of media.

    Attributes:
        make: the encoded file of a number.
        files: how many different ones a round decodes.
    """

    name: str
    modality: Modality
    make: Callable[[int], bytes]
    files: int


CASES = {
    "page": Case("pages, 1275x1650", Modality.IMAGE, media_files.page, 8),
    "photograph": Case("photographs, 12 megapixels", Modality.IMAGE, media_files.photograph, 3),
    "clip": Case(f"clip of 10 minutes to {VIDEO_FRAMES} frames", Modality.VIDEO, lambda _: media_files.clip(10), 1),
    "film": Case(f"clip of 60 minutes to {VIDEO_FRAMES} frames", Modality.VIDEO, lambda _: media_files.clip(60), 1),
    "recording": Case("recording of 10 minutes", Modality.AUDIO, lambda _: media_files.recording(10), 1),
}


@dataclass
class Result:
    """CPU seconds an item, of each round, and how late the event loop was meanwhile, in seconds."""

    case: Case
    direct: list[float] = field(default_factory=list)
    sandbox: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> Spread:
        """Of vLLM's CPU time to the sandbox', round by round: above 1, the sandbox is faster."""
        return Spread.of([d / s for d, s in zip(self.direct, self.sandbox, strict=True)])


def main(
    cases: Annotated[str, typer.Option(help="Which, separated by commas.")] = ",".join(CASES),
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each side.")] = 3,
    requests: Annotated[int, typer.Option(min=0, help="Of each kind to a real gateway; 0: none.")] = 300,
    seconds: Annotated[float, typer.Option(min=1, help="Of load on that gateway.")] = 20.0,
    against: Annotated[str, typer.Option(help="Commit whose server gets requests at one stream too, in turn.")] = "",
    json: Annotated[Path | None, typer.Option(help="Also write the report to this file.")] = None,
) -> None:
    """Compare CPU time an item, because that is what a core is worth; noise of the machine hardly changes it.

    Then send media to a real gateway: how long it takes to the queue, and what text requests notice meanwhile.
    """
    try:
        chosen = [CASES[name.strip()] for name in cases.split(",") if name.strip()]
    except KeyError as error:
        raise typer.BadParameter(f"--cases: there is no {error}; known: {', '.join(CASES)}") from error
    console = Console(width=120)
    results = uvloop.run(_measure(chosen, rounds, console))
    if results:
        _show(results, console)
    gateway = _gateway(requests, seconds, against) if requests else None
    if gateway is not None:
        media_gateway.show(gateway, console)
    if json is not None:
        rows: list[Any] = [
            {"case": r.case.name, "vllm_s": r.direct, "sandbox_s": r.sandbox, "late_s": _late(r)} for r in results
        ]
        rows += [gateway.to_json()] if gateway else []
        json.write_bytes(orjson.dumps(rows, option=orjson.OPT_INDENT_2))


def _gateway(requests: int, seconds: float, against: str) -> media_gateway.Report:
    if not against:
        return uvloop.run(media_gateway.measure(requests, seconds))
    with tempfile.TemporaryDirectory() as folder, checked_out(against, Path(folder) / "tree") as tree:
        return uvloop.run(media_gateway.measure(requests, seconds, {against: tree}))


async def _measure(cases: list[Case], rounds: int, console: Console) -> list[Result]:
    decoder = SandboxDecoder(Settings(media_decode_timeout_s=600))
    await decoder.start()
    results = []
    try:
        for case in cases:
            files = [case.make(number) for number in range(case.files)]
            result = Result(case)
            for number in range(rounds):
                sides = [_direct, _sandboxed]
                for side in sides if number % 2 else reversed(sides):
                    await side(decoder, files, result)
            console.print(f"[dim]{case.name}: {result.ratio.median:.1f} times[/]", highlight=False)
            results.append(result)
    finally:
        await decoder.aclose()
    return results


async def _direct(_: SandboxDecoder, files: list[bytes], result: Result) -> None:
    read = _vllm_reader(result.case.modality)
    with _cpu_time(len(files)) as taken:
        for data in files:
            await asyncio.to_thread(read, data)
    result.direct += taken


async def _sandboxed(decoder: SandboxDecoder, files: list[bytes], result: Result) -> None:
    spec = MediaSpec(video_max_frames=VIDEO_FRAMES)
    jobs = [DecodeJob(result.case.modality, identify(data, result.case.modality, None), data, spec) for data in files]

    async def decode() -> None:
        for job in jobs:
            await decoder.measure(job)
            await decoder.decode(job)

    with _cpu_time(len(files)) as taken:
        result.late += await _lateness(decode())
    result.sandbox += taken


def _vllm_reader(modality: Modality) -> Callable[[bytes], Any]:
    # Seconds of imports, which only this needs.
    from vllm.multimodal.media import AudioMediaIO, ImageMediaIO, VideoMediaIO

    if modality is Modality.IMAGE:
        return lambda data: ImageMediaIO().load_bytes(data)
    if modality is Modality.VIDEO:
        return lambda data: VideoMediaIO(ImageMediaIO(), num_frames=VIDEO_FRAMES).load_bytes(data)
    return lambda data: AudioMediaIO().load_bytes(data)


@contextlib.contextmanager
def _cpu_time(items: int) -> Iterator[list[float]]:
    """CPU seconds an item, of this process and its children, once the context has ended."""
    taken: list[float] = []
    before = _seconds()
    yield taken
    taken.append((_seconds() - before) / items)


def _seconds() -> float:
    own = psutil.Process()
    times = [process.cpu_times() for process in [own, *own.children(recursive=True)]]
    # Of children that have ended too: processes that decode are replaced from time to time.
    return sum(t.user + t.system + t.children_user + t.children_system for t in times)


async def _lateness(work: Awaitable[None]) -> list[float]:
    """How late the event loop called what was to be called each few milliseconds, while some work went on."""
    late: list[float] = []

    async def tick() -> None:
        while True:
            due = time.perf_counter() + TICK_S
            await asyncio.sleep(TICK_S)
            late.append(time.perf_counter() - due)

    ticking = asyncio.create_task(tick())
    try:
        await work
    finally:
        ticking.cancel()
    return late


def _late(result: Result) -> dict[str, float]:
    return {"p50": percentile(result.late, 50), "p99": percentile(result.late, 99), "most": max(result.late)}


def _show(results: list[Result], console: Console) -> None:
    table = Table("", "vLLM, CPU ms an item", "sandbox, CPU ms", "vLLM / sandbox", "event loop late, p99")
    for result in results:
        direct, sandbox = Spread.of(result.direct), Spread.of(result.sandbox)
        table.add_row(
            result.case.name,
            f"{1000 * direct.median:,.1f}",
            f"{1000 * sandbox.median:,.1f}",
            f"{result.ratio.median:.2f} ({result.ratio.low:.2f} … {result.ratio.high:.2f})",
            f"{1000 * _late(result)['p99']:.1f} ms",
        )
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
