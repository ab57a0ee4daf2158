from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from prometheus_client import REGISTRY

from loadtests.fuzz.corpus import documents, seeds
from loadtests.fuzz.pdf import pdf
from tessera.errors import InvalidMedia, MediaDecodeFailed, MediaDecoderUnavailable, MediaDecodeTimeout, MediaTooLarge
from tessera.media import PDF, DecodeJob, MediaSpec, Modality, SandboxDecoder, SandboxIncomplete, ThreadDecoder, unpack
from tessera.media.decoding import Page
from tessera.media.markdown import links
from tessera.media.sandbox.processes import Processes
from tessera.media.sniff import MARKDOWN, Kind, identify, sniff

ROOT = Path(__file__).parents[3]
SPEC = MediaSpec(video_max_frames=8)
WAV = Kind(Modality.AUDIO, "audio/wav", "wav")


OURS = "tessera.media.sandbox.fork_server"
HOSTILE = "tests.media.sandbox.hostile_fork_server"
NO_LANDLOCK = "tests.media.sandbox.no_landlock_fork_server"


@asynccontextmanager
async def opened(settings, module=OURS):
    decoder = SandboxDecoder(settings, processes=Processes(settings, module=module))
    await decoder.start()
    try:
        yield decoder
    finally:
        await decoder.aclose()


def job(modality, data, *, with_audio=False):
    return DecodeJob(modality, sniff(data), data, SPEC, with_audio)


def deed(name, *, modality=Modality.AUDIO, with_audio=False):
    return DecodeJob(modality, WAV, b"deed:" + name, SPEC, with_audio)


def counted(name, **labels):
    return REGISTRY.get_sample_value(f"tessera_media_{name}", labels) or 0.0


def ends(reason):
    return counted("sandbox_ends_total", reason=reason)


async def test_what_comes_out_of_a_confined_process_is_what_comes_out_of_a_thread(settings, samples):
    jobs = [job(Modality.IMAGE, samples.image(name)) for name in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")]
    jobs.append(job(Modality.IMAGE, samples.image("PNG", width=700, height=500)))
    jobs += [job(Modality.AUDIO, samples.wav(format=name)) for name in ("WAV", "FLAC", "OGG", "MP3")]
    jobs.append(job(Modality.AUDIO, samples.audio("mp4", "aac")))
    jobs.append(job(Modality.VIDEO, samples.video(sound_s=0.5), with_audio=True))
    jobs.append(job(Modality.VIDEO, samples.video(format="webm", codec="libvpx-vp9"), with_audio=True))
    threads = ThreadDecoder(settings)
    async with opened(settings) as decoder:
        assert decoder.confinement in ("complete", "without landlock")
        for one in jobs:
            assert await decoder.measure(one) == await threads.measure(one)
            here, there = await threads.decode(one), await decoder.decode(one)
            assert [d.item for d in there] == [d.item for d in here], one.kind
            assert [bytes(d.payload) for d in there] == [d.payload for d in here], one.kind
    await threads.aclose()


@pytest.mark.parametrize("module", [OURS, NO_LANDLOCK])
async def test_the_pages_of_a_document_come_out_of_a_confined_process_as_out_of_a_thread(settings, module):
    threads = ThreadDecoder(settings)
    async with opened(settings, module) as decoder:
        for seed in documents():
            whole = DecodeJob(Modality.IMAGE, PDF, seed.data, SPEC)
            pixels = await decoder.page_pixels(whole)
            assert pixels == await threads.page_pixels(whole)
            assert len(pixels) == 2
            for number, each in enumerate(pixels):
                one = replace(whole, page=Page(number, each))
                assert await decoder.measure(one) == await threads.measure(one) > 10 * each
                [here], [there] = await threads.decode(one), await decoder.decode(one)
                assert there.item == here.item
                assert bytes(there.payload) == here.payload
                assert here.item.shape[0] * here.item.shape[1] == each
    await threads.aclose()


async def test_a_document_is_refused_in_words_of_its_own(make_settings):
    async with opened(make_settings(media_max_pages=1)) as decoder:
        with pytest.raises(MediaTooLarge, match="2 pages; at most 1"):
            await decoder.page_pixels(DecodeJob(Modality.IMAGE, PDF, pdf([b"", b""]), SPEC))
        with pytest.raises(MediaDecodeFailed, match="damaged"):
            await decoder.page_pixels(DecodeJob(Modality.IMAGE, PDF, b"%PDF-1.7", SPEC))


async def test_what_is_large_comes_and_goes_where_no_file_can_be_opened(settings, samples):
    data = samples.image("PNG", width=700, height=500) + bytes(300_000)
    async with opened(settings, NO_LANDLOCK) as decoder:
        [there] = await decoder.decode(job(Modality.IMAGE, data))
        assert there.item.shape == (500, 700, 3)


@pytest.mark.parametrize("module", [OURS, NO_LANDLOCK])
async def test_the_images_of_a_text_are_found_in_a_confined_process(settings, module):
    text = f"é ![a](http://x/a) and ![b](data:image/png;base64,{'A' * 500_000})\n" + "words\n" * 1000
    one = DecodeJob(Modality.IMAGE, MARKDOWN, text.encode(), SPEC)
    async with opened(settings, module) as decoder:
        assert await decoder.links(one) == links(text)
        with pytest.raises(MediaTooLarge, match="images"):
            await decoder.links(replace(one, data=b"![a](http://x/) " * 200))


async def test_a_text_that_takes_for_ever_is_ended(make_settings):
    async with opened(make_settings(media_decode_timeout_s=0.5)) as decoder:
        with pytest.raises(MediaDecodeTimeout):
            await decoder.links(DecodeJob(Modality.IMAGE, MARKDOWN, b"![" * 1_000_000, SPEC))


async def test_every_format_is_read_where_no_file_can_be_opened(settings):
    async with opened(settings, NO_LANDLOCK) as decoder:
        for name, part, data in seeds():
            modality = Modality(part.removesuffix("_url"))
            one = DecodeJob(modality, identify(data, modality, None), data, SPEC, modality is Modality.VIDEO)
            await decoder.measure(one)
            assert await decoder.decode(one), name


def share_of_session(pid: int) -> list[str]:
    """What Linux shares a core among sessions by; empty: it does not, or this process is in none since the boot."""
    file = Path(f"/proc/{pid}/autogroup")
    return file.read_text().split()[-2:] if file.exists() else []


@pytest.fixture
def new_sessions_have_a_share() -> bool:
    """Whether one that is made now has: a machine's first processes are in none, also where it shares by them."""
    command = ["cat", "/proc/self/autogroup"]
    return bool(subprocess.run(command, start_new_session=True, capture_output=True, check=False).stdout)


async def test_a_process_that_decodes_does_not_interrupt_the_gateway(settings, new_sessions_have_a_share):
    here = share_of_session(os.getpid())
    processes = Processes(settings)
    try:
        child = await processes.start()
        assert os.sched_getscheduler(child.identity) == os.SCHED_BATCH
        assert os.sched_getscheduler(0) == os.SCHED_OTHER
        own = os.getpriority(os.PRIO_PROCESS, 0)
        assert os.getpriority(os.PRIO_PROCESS, child.identity) == min(own + 10, 19)
        assert share_of_session(child.identity) == (["nice", "10"] if new_sessions_have_a_share else [])
        assert share_of_session(os.getpid()) == here
    finally:
        await processes.aclose()


async def test_media_errors_are_told_as_in_a_thread(make_settings, samples):
    settings = make_settings(media_max_image_pixels=100)
    async with opened(settings) as decoder:
        with pytest.raises(MediaTooLarge, match="48x32 pixels; at most 100"):
            await decoder.decode(job(Modality.IMAGE, samples.image()))
        with pytest.raises(InvalidMedia, match="cannot be decoded: it is damaged") as caught:
            await decoder.decode(job(Modality.AUDIO, samples.wav(format="FLAC")[:60]))
        assert type(caught.value) is MediaDecodeFailed


async def test_a_process_that_dies_costs_its_own_item_and_no_other(settings, samples):
    name = b"crash"
    async with opened(settings, HOSTILE) as decoder:
        with pytest.raises(MediaDecodeFailed, match="the decoder crashed on it"):
            await decoder.decode(deed(b"exit"))
        before = ends("crash")
        good = [asyncio.create_task(decoder.decode(job(Modality.IMAGE, samples.image()))) for _ in range(4)]
        with pytest.raises(MediaDecodeFailed, match="the decoder crashed on it"):
            await decoder.decode(deed(name))
        assert {d.item.shape for [d] in await asyncio.gather(*good)} == {(32, 48, 3)}
        with pytest.raises(MediaDecodeFailed, match="crashed on it"):
            await decoder.decode(deed(name))
        assert ends("crash") == before + 2
        # It has had its chances: no further process dies of it.
        with pytest.raises(MediaDecodeFailed, match="crashed on it twice"):
            await decoder.decode(deed(name))
        assert ends("crash") == before + 2
        assert await decoder.decode(job(Modality.IMAGE, samples.image()))


async def test_a_process_that_hangs_is_killed_at_the_deadline(make_settings, samples):
    async with opened(make_settings(media_decode_timeout_s=0.2), HOSTILE) as decoder:
        before = ends("deadline")
        with pytest.raises(MediaDecodeTimeout, match=r"longer than the 0\.2 s"):
            await decoder.decode(deed(b"hang"))
        assert ends("deadline") == before + 1


async def test_a_process_ends_when_nobody_waits_for_it(settings, wait_for):
    async with opened(settings, HOSTILE) as decoder:
        task = asyncio.create_task(decoder.decode(deed(b"hang")))
        await wait_for(lambda: not decoder._idle)
        (child,) = decoder._processes._children.values()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.wait_for(child.status, 10) == -signal.SIGKILL


async def test_memory_is_limited(make_settings):
    async with opened(make_settings(media_sandbox_memory_bytes=256 << 20), HOSTILE) as decoder:
        # A lack of memory is Python's to notice, or what a library in C makes of it.
        with pytest.raises((MediaTooLarge, MediaDecodeFailed)):
            await decoder.decode(deed(b"eat"))


async def test_nothing_that_a_process_says_is_believed(settings):
    async with opened(settings, HOSTILE) as decoder:
        lies = (
            b"another modality",
            b"not finite",
            b"another size",
            b"another size in files",
            b"garbage",
            b"another shape",
        )
        for lie in lies:
            with pytest.raises(MediaDecodeFailed):
                await decoder.decode(deed(lie))
        with pytest.raises(MediaDecodeFailed):
            await decoder.decode(deed(b"another's sound", modality=Modality.VIDEO, with_audio=True))


async def test_an_item_cannot_be_changed_after_it_was_looked_at(settings, samples):
    async with opened(settings) as decoder:
        [decoded] = await decoder.decode(job(Modality.IMAGE, samples.image()))
        _, array = unpack(decoded.payload)
        assert not array.flags.writeable
        with pytest.raises(TypeError):
            decoded.payload[0] = 1


async def test_decoding_goes_on_when_the_fork_server_was_killed(settings, samples, wait_for):
    async with opened(settings) as decoder:
        [child] = decoder._processes._children.values()
        decoder._processes._server.kill()
        assert await asyncio.wait_for(child.status, 10) == -signal.SIGKILL
        await wait_for(lambda: not psutil.pid_exists(child.identity))
        assert await decoder.decode(job(Modality.IMAGE, samples.image()))


async def test_processes_are_replaced_after_a_number_of_tasks(settings, samples, monkeypatch):
    monkeypatch.setattr("tessera.media.sandbox.decoder._MOST_TASKS", 2)
    async with opened(settings) as decoder:
        before, one = ends("replaced"), job(Modality.IMAGE, samples.image())
        starts, waits = counted("sandbox_starts_total"), counted("sandbox_wait_seconds_count", modality="image")
        servers = counted("fork_server_starts_total")
        for _ in range(5):
            await decoder.decode(one)
        assert ends("replaced") == before + 2
        assert counted("sandbox_starts_total") == starts + 2
        assert counted("sandbox_wait_seconds_count", modality="image") == waits + 5
        assert counted("fork_server_starts_total") == servers


def test_no_process_outlives_its_gateway(wait_for):
    code = (
        "import asyncio; from tessera.settings import Settings; from tessera.media import SandboxDecoder\n"
        "async def main():\n"
        "    decoder = SandboxDecoder(Settings()); await decoder.start(); print('up', flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT / "server")}
    with subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE) as gateway:
        try:
            assert gateway.stdout.readline() == b"up\n"
            children = psutil.Process(gateway.pid).children(recursive=True)
            assert len(children) == 2, "the fork server and one process"
        finally:
            gateway.kill()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


async def test_strict_refuses_to_start_where_the_kernel_lacks_something(make_settings, monkeypatch):
    settings = make_settings(media_sandbox="strict")
    decoder = SandboxDecoder(settings)
    start = decoder._processes.start

    async def lacking():
        child = await start()
        child.missing = ["landlock"]
        return child

    monkeypatch.setattr(decoder._processes, "start", lacking)
    try:
        with pytest.raises(SandboxIncomplete, match="this kernel or container has no landlock"):
            await decoder.start()
    finally:
        await decoder.aclose()
    assert decoder.confinement == "without landlock"


async def test_a_fork_server_that_dies_at_a_fork_is_an_error_and_no_cancellation(settings, samples, wait_for):
    async with opened(settings) as decoder:
        processes = decoder._processes
        # It stands still, so that the fork is still to come when it is killed.
        processes._server.send_signal(signal.SIGSTOP)
        starting = asyncio.create_task(processes.start())
        await wait_for(lambda: processes._forks)
        processes._server.kill()
        with pytest.raises(MediaDecoderUnavailable):
            await asyncio.wait_for(starting, 20)
        assert await decoder.decode(job(Modality.IMAGE, samples.image()))
