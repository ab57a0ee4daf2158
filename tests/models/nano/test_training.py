"""A training can be interrupted at any time, and goes on as if it had not been."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch

from models.nano import training
from models.nano.__main__ import main
from models.nano.checkpoint import FILES, WEIGHTS
from models.nano.launch import launch
from models.nano.network import load_model
from models.nano.progress import Progress
from models.nano.recipe import Recipe, Stage
from models.nano.training import STATE, Place, train
from tessera.worker.checkpoint import verify
from tests.polling import eventually_sync

ROOT = Path(__file__).parents[3]
ALONE = Place(0, 1, torch.device("cpu"))
SHORT = Recipe(steps=4, looking=2, batch=2, warmup=2)


@pytest.fixture
def work(tmp_path, checkpoint, bank):
    """A folder in which a training can begin, with voices that need not be made anew."""
    for name in FILES:
        if name != WEIGHTS:
            shutil.copyfile(checkpoint / name, tmp_path / name)
    shutil.copyfile(bank.path, tmp_path / bank.path.name)
    return tmp_path


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(training, "_compiles", lambda place: False)
    monkeypatch.setattr("models.nano.probe._EXAMPLES", 1)


class Interrupted(BaseException):
    """As Ctrl-C, or a crash."""


def state(folder):
    return torch.load(folder / STATE, weights_only=True)


def test_an_interrupted_training_ends_as_one_that_was_not(work, monkeypatch):
    whole, halved = work, work.parent / f"{work.name}-halved"
    shutil.copytree(work, halved)
    train(whole, SHORT, ALONE)
    advance = Progress.advance

    def interrupt(self, *losses):
        advance(self, *losses)
        if (halved / STATE).exists() and state(halved)["step"] == 2:
            raise Interrupted

    monkeypatch.setattr(training, "SAVE_EVERY_S", 0.0)
    monkeypatch.setattr(Progress, "advance", interrupt)
    with pytest.raises(Interrupted):
        train(halved, SHORT, ALONE)
    assert not (halved / WEIGHTS).exists()
    monkeypatch.setattr(Progress, "advance", advance)
    train(halved, SHORT, ALONE)
    assert state(halved)["step"] == state(whole)["step"] == 4
    for name, tensor in state(whole)["model"].items():
        torch.testing.assert_close(state(halved)["model"][name], tensor, rtol=1e-3, atol=1e-4)


def test_it_learns(work, monkeypatch):
    """Not to answer, in so few steps, but what answers look like."""
    seen = []
    monkeypatch.setattr(Progress, "advance", lambda self, answers, labels, names: seen.append(answers))
    monkeypatch.setattr(Progress, "report", lambda self, step, scores: None)
    train(work, replace(SHORT, steps=12, looking=0, batch=4, warmup=3), ALONE)
    assert sum(seen[-3:]) < 0.8 * sum(seen[:3])


def test_more_steps_go_on_with_what_is_there_and_another_recipe_is_refused(work):
    train(work, replace(SHORT, steps=1), ALONE)
    train(work, replace(SHORT, steps=2), ALONE)
    assert state(work)["step"] == 2
    for begin in (launch, lambda folder, recipe: train(folder, recipe, ALONE)):
        with pytest.raises(ValueError, match="another recipe"):
            begin(work, replace(SHORT, batch=4))


def test_stages_follow_each_other():
    recipe = Recipe(steps=10, looking=4, annealing=0.2)
    assert [recipe.stage(step) for step in range(10)] == [
        *[Stage.LOOKING] * 4,
        *[Stage.ANSWERING] * 4,
        *[Stage.ANNEALING] * 2,
    ]


def test_rates_rise_stay_and_fall():
    recipe = Recipe(steps=1000, warmup=100, annealing=0.3)
    rates = [recipe.rate(step) for step in range(recipe.steps)]
    assert rates[0] == 0.01
    assert rates[99:700] == [1.0] * 601
    assert rates[850] == pytest.approx(0.5)
    assert 0 < rates[-1] < 0.005


@pytest.mark.timeout(400)
def test_the_command_trains_on_all_cores_and_leaves_a_checkpoint(work, capsys):
    out = work / "out"
    argv = [sys.executable, "-m", "models.nano", "train", "--steps", "2", "--work", str(work), "--out", str(out)]
    environment = {**os.environ, "TORCHDYNAMO_DISABLE": "1"}
    ran = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "step 2:" in ran.stdout
    assert str(out) in ran.stdout
    verify(str(out))
    shipped, learnt = load_model(out).state_dict(), state(work)["model"]
    assert shipped.keys() == learnt.keys()
    assert all(torch.equal(shipped[name], tensor.bfloat16().float()) for name, tensor in learnt.items())
    train(work, replace(Recipe(), steps=2), ALONE)  # there is nothing left to do
    assert (work / WEIGHTS).exists()
    assert state(work)["step"] == 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [*argv[2:], "--seed", "5"])
        assert main() == 1
    assert "another recipe" in capsys.readouterr().err


@pytest.mark.skipif(os.cpu_count() == 1, reason="it has a process for each core, and none beside itself for one")
def test_a_killed_command_leaves_no_process_behind(work):
    argv = [sys.executable, "-m", "models.nano", "train", "--work", str(work), "--out", str(work / "out")]
    environment = {**os.environ, "TORCHDYNAMO_DISABLE": "1"}
    command = subprocess.Popen(argv, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        family = psutil.Process(command.pid)
        eventually_sync(lambda: len(family.children()) > 1, "processes of the training", within_s=120)
        children = family.children()
    finally:
        command.kill()
        command.wait()
    eventually_sync(lambda: not any(child.is_running() for child in children), "no process left", within_s=120)
