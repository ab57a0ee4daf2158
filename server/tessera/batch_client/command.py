"""The commands of ``tessera batch``."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console

from tessera.flags import refusal

_T = TypeVar("_T")

app = typer.Typer(help="Files of requests, answered when there is room for them.", no_args_is_help=True)

Output = Annotated[Path, typer.Argument(help="Where its answers go, a line each.", dir_okay=False)]
Url = Annotated[str, typer.Option(help="Address of a gateway.")]
Key = Annotated[str, typer.Option(help="Key for it.", envvar="TESSERA_API_KEY", show_envvar=True)]


@app.command("run")
def run_batch(
    input: Annotated[
        Path, typer.Argument(help="Requests as OpenAI's batches have them, a line each.", exists=True, dir_okay=False)
    ],
    output: Output,
    errors: Annotated[
        Path | None, typer.Option(help="Where requests go that fail; OUTPUT.errors without it.", dir_okay=False)
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="Of all requests, such as /v1/chat/completions; else that of the first.")
    ] = None,
    keep: Annotated[bool, typer.Option(help="Leave its files on the server.")] = False,
    url: Url = "http://127.0.0.1:8000",
    api_key: Key = "",
) -> None:
    """Have a file of requests answered. Stopped and started again, it goes on. Exits with 1 where some failed."""
    from tessera.batch_client.run import Job, run

    job = Job(input, output, errors or output.with_name(f"{output.name}.errors"), endpoint, keep)
    console = Console(stderr=True, highlight=False)
    failed = _run(run(job, url, api_key, console))
    if failed:
        raise refusal(f"{failed} requests failed: {job.errors} says why.", code=1)


@app.command("cancel")
def cancel_batch(output: Output, api_key: Key = "") -> None:
    """End the batch that `run` began for an output. `run` then gets what was answered by then."""
    from tessera.batch_client.run import cancel

    typer.echo(f"{_run(cancel(output, api_key))} is being cancelled.")


def _run(work: Coroutine[Any, Any, _T]) -> _T:
    from tessera.batch_client.run import BatchFailed

    try:
        return asyncio.run(work)
    except BatchFailed as error:
        raise refusal(str(error), code=1) from None
    except OSError as error:
        raise refusal(f"{error.filename}: {error.strerror}.", code=1) from None
    except KeyboardInterrupt:
        raise refusal("The batch goes on at the server: the same command takes it up again.", code=130) from None
