"""Each test looks after orphans in a process of its own, so that pytest's is not changed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from tests.polling import eventually_sync

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1] / "server")}
PREAMBLE = """
import os, signal, subprocess, sys, time
import psutil
from tessera.processes import adopt_orphans, end_descendants, end_strays, end_with_parent, stop_on_signals, Stopped

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
# Starts a process and dies, so that it becomes an orphan; prints its pid.
PARENT = [sys.executable, "-c", f"import subprocess; print(subprocess.Popen({SLEEP!r}, stdout=-3, stderr=-3).pid)"]

def gone(pid):
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
"""


def run(code: str) -> str:
    argv = [sys.executable, "-c", PREAMBLE + code]
    done = subprocess.run(argv, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_orphans_are_adopted_and_ended():
    assert (
        run("""
adopt_orphans()
known = subprocess.Popen(SLEEP)
orphan = int(subprocess.run(PARENT, capture_output=True).stdout)
assert psutil.Process(orphan).ppid() == os.getpid()
names = end_strays({known.pid})
print(len(names), gone(orphan), known.poll())
known.kill()
known.wait()
""")
        == "1 True None"
    )


def test_what_an_orphan_leaves_is_buried_too():
    assert (
        run("""
adopt_orphans()
# Three generations, none of which looks after the next.
nested = SLEEP
for _ in range(2):
    nested = [sys.executable, "-c", f"import subprocess, time; subprocess.Popen({nested!r}); time.sleep(600)"]
subprocess.run([sys.executable, "-c", f"import subprocess; subprocess.Popen({nested!r}, stdout=-3, stderr=-3)"])
while len(psutil.Process().children(recursive=True)) < 3:
    time.sleep(0.01)
end_strays(set())
print(psutil.Process().children(recursive=True))
""")
        == "[]"
    )


def test_descendants_are_ended_even_the_stubborn_ones():
    assert (
        run("""
import tessera.processes
tessera.processes._KILL_AFTER_S = 0.2
stubborn = "from signal import *; import time; signal(SIGTERM, SIG_IGN); print('up', flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE)
child.stdout.readline()
print(len(end_descendants()), gone(child.pid), end_descendants(child.pid), end_descendants(2**22 + 1))
""")
        == "1 True [] []"
    )


def test_a_child_ends_with_its_parent():
    code = PREAMBLE + "print(subprocess.Popen(SLEEP, preexec_fn=end_with_parent).pid, flush=True)\ntime.sleep(600)\n"
    argv = [sys.executable, "-c", code]
    with subprocess.Popen(argv, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        parent.kill()

    def gone() -> bool:
        return not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE

    eventually_sync(gone, "the child is gone")


def test_a_signal_stops_once_and_the_handlers_come_back():
    assert (
        run("""
before = signal.getsignal(signal.SIGTERM)
try:
    with stop_on_signals() as listen:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as a library does
        listen()
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        except Exception:
            print("swallowed")
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
            print("cleaned up")
except Stopped:
    print(signal.getsignal(signal.SIGTERM) == before)
""")
        == "cleaned up\nTrue"
    )
    assert signal.getsignal(signal.SIGTERM) is not None
