from __future__ import annotations

import os

import pytest
import typer
from typer.testing import CliRunner

from tessera import __version__, cli, flags
from tessera.gateway import server
from tessera.gateway.description import openapi_yaml
from tessera.local import demo, up
from tessera.local.stack import StartFailed
from tessera.settings import Settings


@pytest.fixture(autouse=True)
def alone(nothing_from_outside, monkeypatch):
    # It changes the whole process.
    monkeypatch.setattr(flags.logging, "configure", lambda settings: None)


@pytest.fixture
def extra(monkeypatch):
    """vLLM and Ray seem to be installed."""
    monkeypatch.setattr(cli, "find_spec", lambda name: object())


def run(*args, **env):
    return CliRunner().invoke(cli.app, args, env={"COLUMNS": "200", **env})


COMMANDS = [
    "gateway", "worker", "up", "demo", "drain", "estimate", "explain", "log-level", "openapi", "settings", "top",
    "version",
]  # fmt: skip


def test_there_are_these_commands():
    names = {c.name or c.callback.__name__ for c in cli.app.registered_commands}
    assert names == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.stdout


def test_settings_lists_every_one_with_its_meaning():
    result = run("settings")
    lines = result.stdout.splitlines()
    for name, field in Settings.model_fields.items():
        at = lines.index(f"TESSERA_{name.upper()}={field.default}")
        assert lines[at + 1].strip() == field.description


def test_version():
    assert run("version").stdout == f"{__version__}\n"


def test_a_gateway_does_not_start_with_keys_that_cannot_be_read(tmp_path):
    result = run("gateway", TESSERA_REDIS_URL="redis://nowhere", TESSERA_API_KEYS_FILE=str(tmp_path / "keys"))
    assert result.exit_code == 2
    assert "TESSERA_API_KEYS_FILE" in result.stderr
    assert "Traceback" not in result.output


def test_a_gateway_does_not_start_without_the_place_for_its_media(tmp_path):
    (tmp_path / "file").touch()
    url = f"file://{tmp_path}/file/folder"
    result = run("gateway", TESSERA_REDIS_URL="redis://127.0.0.1:1", TESSERA_MEDIA_STORE_URL=url)
    assert result.exit_code == 2
    assert f"TESSERA_MEDIA_STORE_URL: {url} cannot be opened" in result.stderr
    assert "Traceback" not in result.output


def test_openapi():
    assert run("openapi").stdout == openapi_yaml()


@pytest.mark.parametrize(
    ("name", "value"),
    [("TESSERA_PORT", "99999"), ("TESSERA_PORT", "http"), ("TESSERA_LEASE_S", "soon"), ("TESSERA_LOG_LEVEL", "loud")],
)
def test_a_bad_value_names_its_variable(name, value):
    result = run("gateway", **{name: value})
    assert result.exit_code == 2
    assert name in result.stderr


def test_flags_win_over_the_environment_and_it_over_the_file(monkeypatch, tmp_path):
    started = []
    monkeypatch.setattr(server, "run_gateway", started.append)
    (tmp_path / "tessera.env").write_text("TESSERA_PORT=1\nTESSERA_HOST=127.0.0.1\nTESSERA_REDIS_URL=redis://file\n")
    assert run("gateway", "--redis-url", "redis://flag", TESSERA_PORT="2").exit_code == 0
    [settings] = started
    assert (settings.host, settings.port, settings.redis_url) == ("127.0.0.1", 2, "redis://flag")


@pytest.mark.parametrize("command", ["worker", "up", "demo"])
def test_a_missing_extra_says_what_to_install(monkeypatch, command):
    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    result = run(command)
    assert result.exit_code == 2
    assert "extra `cpu` or `gpu`" in result.stderr


@pytest.mark.usefixtures("extra")
class TestUp:
    @pytest.fixture
    def started(self, monkeypatch):
        started = []

        async def run_up(settings, *, verbose):
            started.append(settings)

        async def run_demo(settings, *, verbose):
            started.append(settings)
            return True

        monkeypatch.setattr(up, "run_up", run_up)
        monkeypatch.setattr(demo, "run_demo", run_demo)
        return started

    def test_only_this_machine_can_reach_it(self, started):
        assert run("up", "--model", "m").exit_code == 0
        assert (started[0].host, started[0].port) == ("127.0.0.1", 8000)

    @pytest.mark.parametrize("how", ["flag", "environment", "file"])
    def test_unless_somebody_asks_for_more(self, started, how, tmp_path):
        if how == "file":
            (tmp_path / "tessera.env").write_text("TESSERA_HOST=0.0.0.0\n")
        flags = ("--host", "0.0.0.0") if how == "flag" else ()
        env = {"TESSERA_HOST": "0.0.0.0"} if how == "environment" else {}
        assert run("up", "--model", "m", *flags, **env).exit_code == 0
        assert started[0].host == "0.0.0.0"

    def test_the_demonstration_takes_any_free_port(self, started):
        assert run("demo", "--model", "m").exit_code == 0
        assert run("demo", "--model", "m", TESSERA_PORT="1234").exit_code == 0
        assert [(s.host, s.port) for s in started] == [("127.0.0.1", 0), ("127.0.0.1", 1234)]

    def test_an_interrupted_demonstration_says_so(self, monkeypatch):
        async def run_demo(settings, *, verbose):
            return False

        monkeypatch.setattr(demo, "run_demo", run_demo)
        assert run("demo", "--model", "m").exit_code == 130

    def test_a_failed_start_is_one_message(self, monkeypatch):
        async def run_up(settings, *, verbose):
            raise StartFailed("worker exited with code 1.")

        monkeypatch.setattr(up, "run_up", run_up)
        result = run("up", "--model", "m")
        assert (result.exit_code, result.stderr) == (1, "worker exited with code 1.\n")

    def test_no_model_at_all(self, monkeypatch, tmp_path):
        monkeypatch.setattr("tessera.settings.worker.EMBEDDED_MODEL", tmp_path / "missing")
        result = run("up")
        assert result.exit_code == 2
        assert "TESSERA_MODEL" in result.stderr


def test_the_entry_point(monkeypatch):
    monkeypatch.setattr("sys.argv", ["tessera", "version"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 0
    assert isinstance(cli.app, typer.Typer)


@pytest.mark.parametrize("command", ["gateway", "worker"])
def test_what_meets_in_redis_wants_to_know_where(extra, command):
    refused = run(command)
    assert refused.exit_code == 2
    assert "TESSERA_REDIS_URL" in refused.stderr


@pytest.mark.parametrize("command", ["worker", "up", "demo"])
def test_a_path_that_leads_nowhere_is_named(extra, command):
    refused = run(command, TESSERA_MODEL="/no/such/folder", TESSERA_REDIS_URL="redis://127.0.0.1:1")
    assert refused.exit_code == 2
    assert "TESSERA_MODEL: there is no /no/such/folder" in refused.stderr


@pytest.mark.parametrize("command", ["worker", "up", "demo"])
def test_a_damaged_checkpoint_is_named_before_anything_starts(extra, command, tmp_path):
    weights = tmp_path / "model.safetensors"
    (tmp_path / "config.json").write_text("{}")
    weights.write_bytes(b"\x00" * 100)
    refused = run(command, TESSERA_MODEL=str(tmp_path), TESSERA_REDIS_URL="redis://127.0.0.1:1")
    assert refused.exit_code == 2
    assert str(weights) in refused.stderr
    assert "safetensors" in refused.stderr


def test_draining_needs_to_know_where_workers_are_told(tmp_path):
    result = run("drain")
    assert (result.exit_code, "TESSERA_WORKER_FOLDER is not set" in result.stderr) == (2, True)
    assert run("drain", TESSERA_WORKER_FOLDER=str(tmp_path / "of its own")).exit_code == 0


def test_draining_that_takes_too_long_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(cli, "DRAIN_MARGIN_S", 0.0)
    (tmp_path / f"serving-{os.getpid()}-1").touch()
    result = run("drain", TESSERA_WORKER_FOLDER=str(tmp_path), TESSERA_DRAIN_TIMEOUT_S="0.01")
    assert (result.exit_code, "still have jobs" in result.stderr) == (1, True)
