from __future__ import annotations

import os
import signal
import sys

import psutil
import pytest

from tessera import processes
from tessera.local import child as module
from tessera.local.child import Child
from tests.polling import eventually


@pytest.fixture
async def make(tmp_path, monkeypatch):
    """Makes children that run Python code; all are stopped."""
    monkeypatch.setattr(module, "FIRST_BACKOFF_S", 0.01)
    monkeypatch.setattr(module, "LONGEST_BACKOFF_S", 0.02)
    made = []

    def make(code, news=None, argv=None):
        async def on_exit(text):
            if news is not None:
                news.append(text)

        child = Child("thing", argv or [sys.executable, "-c", code], {"ADDED": "here"}, tmp_path, on_exit)
        made.append(child)
        return child

    yield make
    for child in made:
        await child.stop(5)


FOREVER = "import time; print('up', flush=True); time.sleep(600)"


async def says(child, word):
    await eventually(lambda: word in child.last_lines(), f"{word!r} in its log")


async def test_its_output_and_its_exit_are_seen(make):
    child = make("import os; print(os.environ['ADDED']); raise SystemExit('it broke')")
    await child.start()
    assert await child.exited() == 1
    assert child.pid is None
    assert child.last_lines() == "here\nit broke"
    assert child.last_lines(1) == "it broke"


async def test_it_is_restarted_with_growing_pauses(make):
    news = []
    child = make("raise SystemExit(3)", news)
    await child.start()
    child.keep()
    await eventually(lambda: len(news) >= 4, "it was restarted three times")
    pauses = ["0.01", "0.02", "0.02", "0.02"]
    assert news[:4] == [f"thing exited with code 3; restarting it in {p} s" for p in pauses]


async def test_it_is_restarted_after_a_kill(make):
    child = make(FOREVER)
    await child.start()
    child.keep()
    first = child.pid
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: child.pid not in (None, first), "another process runs")


async def test_a_restart_that_fails_is_tried_again(make, tmp_path):
    script, news = tmp_path / "script", []

    def install():
        new = tmp_path / "new"
        new.write_text(f"#!{sys.executable}\nimport os\nos.remove(__file__)\n")
        new.chmod(0o700)
        new.rename(script)

    install()
    child = make("", news, [str(script)])
    await child.start()
    child.keep()
    await eventually(lambda: any("cannot be started" in n for n in news), "its file is missing")
    install()
    seen = len(news)
    await eventually(lambda: any("exited with code 0" in n for n in news[seen:]), "it ran again")


async def test_stopped_it_is_not_restarted(make):
    news = []
    child = make(FOREVER, news)
    await child.start()
    child.keep()
    await says(child, "up")
    await child.stop(10)
    assert (child.pid, await child.exited(), news) == (None, -signal.SIGTERM, [])
    await child.stop(10)  # once more does no harm


async def test_stopped_before_it_was_started():
    async def on_exit(text):
        raise AssertionError

    await Child("thing", ["true"], {}, None, on_exit).stop(1)


async def test_one_that_ignores_sigterm_is_killed_with_its_children(make, monkeypatch):
    monkeypatch.setattr(processes, "_KILL_AFTER_S", 0.1)
    code = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid, flush=True)
time.sleep(600)
"""
    child = make(code)
    await child.start()
    await eventually(lambda: child.last_lines(), "it has a child")
    grandchild = int(child.last_lines())
    await child.stop(0.05)
    assert await child.exited() == -signal.SIGKILL
    assert not psutil.pid_exists(grandchild) or psutil.Process(grandchild).status() == psutil.STATUS_ZOMBIE
