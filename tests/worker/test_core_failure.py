"""What an engine core failed with is told by its parent."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tessera.worker import core_failure
from tessera.worker.core_failure import explained, noting


def fail(text: str, *, after: str) -> None:
    raise ValueError(f"{text} {after}")


def test_a_reason_is_written_down(tmp_path: Path) -> None:
    note = tmp_path / "note"
    with pytest.raises(ValueError, match="4 GiB are needed, there is 1"):
        noting(str(note), fail, "4 GiB are needed,", after="there is 1")
    assert note.read_text() == "ValueError: 4 GiB are needed, there is 1"


def test_one_that_fails_when_nobody_waits_any_more_fails_as_it_did(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="too late"):
        noting(str(tmp_path / "gone" / "note"), fail, "too", after="late")


class Core:
    """In place of vLLM's, whose import takes long. Its parent runs it here, and not in another process."""

    @staticmethod
    def run_engine_core(text: str) -> None:
        raise MemoryError(text)


def start(text: str) -> None:
    with pytest.raises(MemoryError):
        core_failure.run_core(Core.run_engine_core.args[0], text)  # type: ignore[attr-defined]
    raise RuntimeError("See root cause above.")


@pytest.fixture(autouse=True)
def no_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Core.run_engine_core
    # As in the core's own process: nothing is changed there.
    unchanged = type("Core", (), {"run_engine_core": staticmethod(original)})
    homes = iter([Core, unchanged])
    monkeypatch.setattr(core_failure, "vllm_name", lambda name: next(homes))


def test_the_parent_tells_what_the_core_failed_with() -> None:
    before = Core.run_engine_core
    with pytest.raises(RuntimeError, match=r"^vLLM's engine did not start. MemoryError: 4 GiB"), explained():
        start("4 GiB")
    assert Core.run_engine_core == before


def test_what_fails_without_a_reason_fails_as_it_did() -> None:
    with pytest.raises(RuntimeError, match=r"^no core$"), explained():
        fail_at_once()


def fail_at_once() -> None:
    raise RuntimeError("no core")


def test_vllm_starts_its_cores_by_the_name_that_is_changed() -> None:
    """By its source: to import it takes long."""
    package = importlib.util.find_spec("vllm")
    assert package is not None
    assert package.origin is not None
    source = (Path(package.origin).parent / "v1" / "engine" / "utils.py").read_text()
    assert "target=EngineCoreProc.run_engine_core," in source
