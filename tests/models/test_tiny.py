import json
import shutil
import subprocess
import sys
from pathlib import Path

import jinja2
import jinja2.sandbox
import numpy as np
import pytest
from safetensors import safe_open
from tokenizers import Tokenizer

from models.tiny import __main__ as command
from models.tiny import build, is_complete
from models.tiny.bfloat16 import to_bfloat16
from models.tiny.checkpoint import RECIPE_FILE

ROOT = Path(__file__).parents[2]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def settings(folder, name):
    return json.loads((folder / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny") / "checkpoint"
    build(folder)
    return folder


@pytest.fixture(scope="session")
def tokenizer(checkpoint):
    return Tokenizer.from_file(str(checkpoint / "tokenizer.json"))


@pytest.fixture(scope="session")
def render(checkpoint):
    """Render the chat template with the environment that transformers makes for it."""

    def fail(message):
        raise jinja2.TemplateError(message)

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    environment.globals["raise_exception"] = fail
    template = environment.from_string((checkpoint / "chat_template.jinja").read_text(encoding="utf-8"))
    return lambda messages, **variables: template.render(messages=messages, **variables)


class TestBuild:
    def test_same_seed_same_bytes(self, checkpoint, tmp_path):
        # In another process: dictionaries of strings may iterate differently there.
        subprocess.run([sys.executable, "-m", "models.tiny", str(tmp_path / "again")], cwd=ROOT, check=True)
        assert contents(tmp_path / "again") == contents(checkpoint)

    def test_another_seed_changes_only_the_weights(self, checkpoint, tmp_path):
        build(tmp_path / "other", seed=1)
        ours, theirs = contents(checkpoint), contents(tmp_path / "other")
        assert {name for name in ours if ours[name] != theirs[name]} == {"model.safetensors", RECIPE_FILE}

    def test_a_complete_checkpoint_is_left_alone(self, checkpoint, tmp_path):
        folder = shutil.copytree(checkpoint, tmp_path / "copy")
        before = (folder / "model.safetensors").stat().st_ino
        build(folder)
        assert (folder / "model.safetensors").stat().st_ino == before
        build(folder, force=True)
        assert (folder / "model.safetensors").stat().st_ino != before

    def test_a_half_checkpoint_is_rebuilt(self, checkpoint, tmp_path):
        folder = shutil.copytree(checkpoint, tmp_path / "half", ignore=shutil.ignore_patterns(RECIPE_FILE, "token*"))
        assert not is_complete(folder)
        build(folder)
        assert contents(folder) == contents(checkpoint)

    def test_another_recipe_is_rebuilt(self, checkpoint, tmp_path):
        folder = shutil.copytree(checkpoint, tmp_path / "old")
        (folder / RECIPE_FILE).write_text("of another version\n")
        (folder / "leftover.bin").write_text("of another version\n")
        build(folder)
        assert contents(folder) == contents(checkpoint)

    def test_an_interrupted_build_leaves_nothing(self, tmp_path, monkeypatch):
        def interrupt(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr("models.tiny.checkpoint.save_bfloat16", interrupt)
        with pytest.raises(KeyboardInterrupt):
            build(tmp_path / "never")
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_of_something_else_is_not_replaced(self, tmp_path):
        (tmp_path / "thesis.tex").write_text("years of work")
        with pytest.raises(FileExistsError):
            build(tmp_path, force=True)
        assert (tmp_path / "thesis.tex").exists()

    def test_others_may_read_it(self, checkpoint):
        assert checkpoint.stat().st_mode & 0o777 == 0o755
        assert {path.stat().st_mode & 0o777 for path in checkpoint.iterdir()} == {0o644}

    def test_the_command_says_in_one_line_what_it_did(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr("sys.argv", ["tiny", str(tmp_path / "new")])
        command.main()
        command.main()
        built, there = capsys.readouterr().out.splitlines()
        assert built.startswith("built ")
        assert there.startswith("already there: ")


class TestConfiguration:
    def test_vllm_finds_its_class_and_sizes_that_its_cpu_attention_takes(self, checkpoint):
        config = settings(checkpoint, "config.json")
        text, vision = (config["thinker_config"][f"{part}_config"] for part in ("text", "vision"))
        assert config["architectures"] == ["Qwen2_5OmniForConditionalGeneration"]
        assert text["max_position_embeddings"] == 8192
        assert text["hidden_size"] // text["num_attention_heads"] >= 32
        assert vision["hidden_size"] // vision["num_heads"] >= 32
        assert 2 * sum(text["rope_scaling"]["mrope_section"]) == text["hidden_size"] // text["num_attention_heads"]

    def test_media_tokens_are_those_of_the_tokenizer(self, checkpoint, tokenizer):
        thinker = settings(checkpoint, "config.json")["thinker_config"]
        named = settings(checkpoint, "tokenizer_config.json")["extra_special_tokens"]
        for kind in ("image", "video", "audio"):
            assert thinker[f"{kind}_token_index"] == tokenizer.token_to_id(named[f"{kind}_token"])
        assert all(isinstance(value, int) for name, value in thinker.items() if name.endswith("_token_id"))
        assert settings(checkpoint, "generation_config.json")["eos_token_id"] == [
            tokenizer.token_to_id("<|im_end|>"),
            tokenizer.token_to_id("<|endoftext|>"),
        ]

    def test_images_and_frames_cost_at_most_256_tokens_and_sound_is_padded_to_30_seconds(self, checkpoint):
        images = settings(checkpoint, "preprocessor_config.json")
        videos = settings(checkpoint, "video_preprocessor_config.json")
        assert images["size"] == videos["size"] == settings(checkpoint, "tokenizer_config.json")["size"]
        assert images["size"]["longest_edge"] == 256 * 28 * 28
        assert images["chunk_length"] * images["sampling_rate"] == images["n_samples"] == 480_000

    def test_weights_fit_the_vocabulary_and_are_finite_bfloat16(self, checkpoint, tokenizer):
        rows = settings(checkpoint, "config.json")["thinker_config"]["text_config"]["vocab_size"]
        assert 512 <= tokenizer.get_vocab_size() <= rows <= 2048
        with safe_open(checkpoint / "model.safetensors", framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        assert {part.get_dtype() for part in slices.values()} == {"BF16"}
        assert slices["thinker.lm_head.weight"].get_shape() == [rows, 192]
        assert slices["thinker.model.embed_tokens.weight"].get_shape() == [rows, 192]

    def test_bfloat16_rounds_to_nearest_and_ties_to_even(self):
        values = np.array([1.0, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -2.5], dtype=np.float32)
        assert to_bfloat16(values).tolist() == [0x3F80, 0x3F80, 0x3F82, 0x3F81, 0xC020]


class TestTokenizer:
    @pytest.mark.parametrize(
        "text",
        [
            "A red square.",
            "  two  spaces\n\n\tand tabs ",
            "这张图片里有什么？",
            "¿Qué ves? 👩‍👩‍👧‍👦 🙂 é",
            '{"a": [1, 2.5e-3]}',
            "",
        ],
    )
    def test_round_trip(self, tokenizer, text):
        assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text

    def test_special_tokens_are_one_token_and_only_tool_tags_are_shown(self, tokenizer):
        text = "<|im_start|><|vision_bos|><|IMAGE|><|vision_eos|><|audio_bos|><|AUDIO|><|audio_eos|><|VIDEO|><|im_end|>"
        assert len(tokenizer.encode(text).ids) == 9
        assert tokenizer.decode(tokenizer.encode(text).ids) == ""
        call = "<tool_call></tool_call>"
        assert len(tokenizer.encode(call).ids) == 2
        assert tokenizer.decode(tokenizer.encode(call).ids) == call


class TestChatTemplate:
    def test_parts_stay_in_order(self, render):
        kinds = ["image", "video", "audio", "image_url", "input_audio", "video_url", "audio_url"]
        parts = [part for kind in kinds for part in ({"type": "text", "text": f"({kind})"}, {"type": kind})]
        image, video = "<|vision_bos|><|IMAGE|><|vision_eos|>", "<|vision_bos|><|VIDEO|><|vision_eos|>"
        audio = "<|audio_bos|><|AUDIO|><|audio_eos|>"
        rendered = render([{"role": "user", "content": parts}], add_generation_prompt=True)
        placeholders = [image, video, audio, image, audio, video, audio]
        user = "".join(f"({kind}){placeholder}" for kind, placeholder in zip(kinds, placeholders, strict=True))
        assert rendered == (
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
            f"<|im_start|>user\n{user}<|im_end|>\n"
            "<|im_start|>assistant\n"
        )

    def test_text_as_a_string_and_a_system_message(self, render):
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
        assert render(messages) == "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"

    def test_tools_their_calls_and_their_answers(self, render):
        tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
        call = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": {"city": "Köln"}}}
        as_text = {"id": "2", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bonn"}'}}
        messages = [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": None, "tool_calls": [call, as_text]},
            {"role": "tool", "tool_call_id": "1", "content": "rain"},
            {"role": "tool", "tool_call_id": "2", "content": [{"type": "text", "text": "sun"}]},
            {"role": "assistant", "content": "Both."},
        ]
        rendered = render(messages, tools=[tool])
        assert f"<tools>\n{json.dumps(tool)}\n</tools>" in rendered
        assert rendered.endswith(
            "<|im_start|>user\nWeather?<|im_end|>\n"
            '<|im_start|>assistant\n<tool_call>\n{"name": "weather", "arguments": {"city": "Köln"}}\n</tool_call>\n'
            '<tool_call>\n{"name": "weather", "arguments": {"city": "Bonn"}}\n</tool_call><|im_end|>\n'
            "<|im_start|>user\n<tool_response>\nrain\n</tool_response>\n<tool_response>\nsun\n</tool_response><|im_end|>\n"
            "<|im_start|>assistant\nBoth.<|im_end|>\n"
        )

    def test_an_unknown_part_is_refused(self, render):
        with pytest.raises(jinja2.TemplateError, match="unknown content part: hologram"):
            render([{"role": "user", "content": [{"type": "hologram"}]}])
