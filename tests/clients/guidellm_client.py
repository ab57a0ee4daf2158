"""GuideLLM, by its command."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from trial import Trial

trial = Trial()
REQUESTS, TOKENS = 3, 8
TEXT = f"synthetic_text,prompt_tokens=32,output_tokens={TOKENS}"


def bench(request_format: str, *data: str, model: str = trial.model, url: str = trial.url) -> list[dict[str, Any]]:
    """What it tells of each of its requests, which must all have succeeded."""
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "told.json"
        argv = [
            str(Path(sys.executable).with_name("guidellm")),
            "run",
            f"--backend=kind=openai_http,target={url},model={model},request_format={request_format}",
            "--profile=kind=synchronous",
            f"--constraint=kind=max_requests,count={REQUESTS}",
            f"--tokenizer=kind=huggingface_auto,model={trial.folders[model]}",
            *(f"--data=kind={each}" for each in data),
            f"--output=kind=json,path={told}",
            "--disable-console",
        ]
        ran = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr[-2000:]
        [benchmark] = json.loads(told.read_text())["benchmarks"]
    requests = benchmark["requests"]
    assert len(requests["successful"]) == REQUESTS, requests
    assert not requests["errored"], requests["errored"]
    return requests["successful"]


@trial.of("text")
def text() -> None:
    answers = bench("/v1/completions", TEXT)
    assert all(answer["output_metrics"]["text_tokens"] == TOKENS for answer in answers)


@trial.of("streaming")
def streaming() -> None:
    answers = bench("/v1/chat/completions", TEXT)
    assert all(answer["output_metrics"]["text_tokens"] == TOKENS for answer in answers)
    assert all(answer["info"]["timings"]["token_iterations"] > 1 for answer in answers)


@trial.of("images")
def images() -> None:
    answers = bench("/v1/chat/completions", TEXT, "synthetic_image,width=224,height=224")
    assert all("image_url" in answer["request_args"] for answer in answers)


@trial.of("responses")
def responses() -> None:
    answers = bench("/v1/responses", TEXT)
    assert all(answer["output"] for answer in answers)


@trial.of("embeddings")
def embeddings() -> None:
    data = "synthetic_text,prompt_tokens=32"
    answers = bench("/v1/embeddings", data, model=trial.reader, url=trial.reader_url)
    assert all(answer["input_metrics"]["text_tokens"] > 0 for answer in answers)


if __name__ == "__main__":
    trial.run()
