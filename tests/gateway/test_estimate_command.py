"""``tessera estimate``, asking a real gateway."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from PIL import Image
from typer.testing import CliRunner

from tessera import cli
from tessera.local.samples import audio, video
from tessera.media import MediaSpec
from tests.gateway.scripted import ScriptedWorker
from tests.gateway.test_planning import NANO
from tests.gateway.test_visual_budget import RULE


@pytest.fixture
def card(card):
    spec = MediaSpec(image_resize=RULE).to_json()
    return replace(card, limits={"image": 4, "video": 2, "audio": 1}, plan=NANO.to_json(), media=spec)


@pytest.fixture
def files(tmp_path):
    Image.new("RGB", (900, 600), "teal").save(tmp_path / "photo.png")
    (tmp_path / "clip.mp4").write_bytes(video())
    (tmp_path / "voice.wav").write_bytes(audio())
    return [str(tmp_path / name) for name in ("photo.png", "clip.mp4", "voice.wav")]


async def run(gateway, *args):
    env = {"COLUMNS": "200", "TESSERA_API_KEY": ""}
    url = ["--url", gateway] if isinstance(gateway, str) else ["--url", gateway.url]
    return await asyncio.to_thread(CliRunner().invoke, cli.app, ["estimate", *args, *url], env=env)


async def test_a_table_says_what_each_file_would_be(gateway, worker, files, tmp_path):
    result = await run(gateway, *files, "--preview", str(tmp_path / "drawn"))
    assert result.exit_code == 0, result.output
    whole = NANO.image(900, 600)
    [row] = [line for line in result.stdout.splitlines() if "│ photo.png" in line]
    assert f"{whole.size.width}x{whole.size.height}" in row
    assert f" {whole.tokens} " in row
    assert "frames, 0.0 to" in result.stdout
    assert f"the model has room for {worker.card.max_model_len}" in result.stdout
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["1-photo.png", "2-clip.png"]
    with Image.open(tmp_path / "drawn" / "1-photo.png") as drawn:
        assert drawn.width > 300


async def test_detail_and_a_budget_are_asked_for(gateway, files):
    plain, low, budget = [await run(gateway, files[0], *more) for more in ([], ["--detail", "low"], ["--budget", "40"])]
    tokens = []
    for result in (plain, low, budget):
        assert result.exit_code == 0, result.output
        [row] = [line for line in result.stdout.splitlines() if "│ photo.png" in line]
        tokens.append(int(row.split("│")[6]))
    assert tokens[0] > 200
    assert tokens[1] <= 64
    assert tokens[2] <= 40


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--budget", "3"], "visual_budget_too_small (messages[0].content[0])"),
        (["--model", "nobody"], "model_not_found"),
        (["--detail", "medium"], "low, high, auto"),
    ],
)
async def test_what_is_refused_says_why(gateway, worker, files, more, words):
    result = await run(gateway, files[0], *more)
    assert result.exit_code == 1
    assert words in result.output
    assert "Traceback" not in result.output


async def test_servers_and_files_that_will_not_do(gateway, redis_client, settings, worker, files, tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    result = await run(gateway, str(tmp_path / "notes.txt"))
    assert (result.exit_code, "no image, video or sound" in result.output) == (1, True)
    result = await run("http://127.0.0.1:9", files[0])
    assert (result.exit_code, "is `tessera up` running?" in result.output) == (1, True)
    result = await run(gateway, str(tmp_path / "missing.png"))
    assert result.exit_code == 2
    other = ScriptedWorker(redis_client, settings, type(worker.card)(worker.card.model + "-x", "/x", 9))
    await other.announce()
    await gateway.app.state.services.catalogue.refresh()
    result = await run(gateway, files[0])
    assert (result.exit_code, "Say which model" in result.output) == (1, True)
