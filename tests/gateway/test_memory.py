from __future__ import annotations

import base64
import io
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import soundfile

from tessera.local.samples import image as sample_image
from tessera.settings.units import MIB
from tests.circles import circles
from tests.gateway.process import gateway_process
from tests.gateway.raw import connected, post
from tests.gateway.scripted import chat
from tests.polling import eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="glibc's")


def test_what_threads_free_goes_back_to_the_system():
    code = textwrap.dedent("""
        import threading
        import psutil
        from tessera.memory import give_back_freed_memory

        give_back_freed_memory()
        process = psutil.Process()

        def grow():
            for size in (20, 30, 31):
                block = bytearray()
                while len(block) < size << 20:
                    block += bytes(300_000)

        before = process.memory_info().rss
        for _ in range(3):
            thread = threading.Thread(target=grow)
            thread.start()
            thread.join()
        print(process.memory_info().rss - before)
    """)
    grown = int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout)
    # Without it 66 MiB: 33 in each of two arenas.
    assert grown < 36 * MIB


async def test_requests_leave_nothing_to_pythons_collector(gateway, worker, redis_client, settings):
    async def nothing_is_held():
        return not await redis_client.exists(f"{settings.redis_prefix}:{{media}}:holds")

    pixels = base64.b64encode(sample_image()).decode()
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{pixels}"}}
    requests = [
        chat(worker.card.model),
        chat(worker.card.model, stream=True),
        chat(worker.card.model, image),
        chat(worker.card.model, {"type": "made_up"}),
        chat("another-model"),
    ]
    async with worker.serving(worker.echo):
        # What is made once, and what is remembered; and Redis may not know a script yet, whose error is in a circle.
        for _ in range(2):
            assert [(await gateway.post(request)).status for request in requests] == [200, 200, 200, 400, 404]
            await eventually(nothing_is_held, "no request needs its media any more")
        with circles() as found:
            for request in requests:
                for _ in range(3):
                    await gateway.post(request)
    assert not found


async def test_a_gateway_does_not_stay_large_after_large_sounds(settings, worker, tmp_path):
    minute = np.random.default_rng(1).integers(-9, 9, 44100 * 60).astype(np.int16)

    def request(minutes):
        buffer = io.BytesIO()
        soundfile.write(buffer, np.tile(minute, minutes), 44100, format="FLAC")
        data = base64.b64encode(buffer.getvalue()).decode()
        part = {"type": "input_audio", "input_audio": {"data": data, "format": "flac"}}
        return post(chat(worker.card.model, part))

    async with gateway_process(settings, tmp_path) as gateway, worker.serving(worker.echo):

        async def answered(minutes):
            async with connected(gateway.port) as client:
                client.send(request(minutes))
                assert (await client.answer()).status == 200

        # What is loaded and made once.
        await answered(1)
        before = gateway.resident_bytes
        for minutes in (16, 18):
            await answered(minutes)
        # Decoded they have 61 and 69 MB.
        await eventually(lambda: gateway.resident_bytes < before + 48 * MIB, "memory is given back")


def test_what_is_there_at_the_start_is_not_looked_at_again():
    # In a process of its own: this one has what other tests have left.
    code = textwrap.dedent("""
        import gc
        import tessera.gateway.app
        from tessera.memory import keep_for_good

        keep_for_good()
        print(gc.get_freeze_count(), len(gc.get_objects()))
    """)
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout
    kept, looked_at = map(int, told.split())
    assert kept > 10_000
    assert looked_at < 1_000
