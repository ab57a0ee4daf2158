"""The pages that show what all runs have counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from loadtests.chaos.record import FOLDER, Record, read
from tessera.settings import SIMULATED, VLLM

BEGIN, END = "<!-- counts: written by `make chaos-page` -->\n", "<!-- end of counts -->\n"
_ENGINES = {SIMULATED: "simulated engines", VLLM: "real vLLM"}


def write() -> None:
    """Bring all pages up to date. Raises ``ValueError`` where one has no place for the counts."""
    records = read()
    for path, counts in PAGES.items():
        path.write_text(inserted(path.read_text(), counts(records)))


def inserted(text: str, counts: str) -> str:
    """A page with other counts. Raises ``ValueError`` where it has no place for them."""
    before, begun, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (begun and ended):
        raise ValueError(f"a page has no line {(END if begun else BEGIN).strip()}")
    return before + BEGIN + counts + END + after


def sentence(records: Sequence[Record]) -> str:
    """All runs in one sentence."""
    numbers = {
        name: f"{_sum(records, name):,}" for name in ("kills", "sent", "lost", "missing", "duplicated", "differing")
    }
    return (
        "`make chaos` has killed {kills} processes under {sent} requests so far: {lost} requests lost,\n"
        "{missing} tokens missing, {duplicated} sent twice, {differing} answers changed "
        "([all counts](docs/reliability.md)).\n"
    ).format(**numbers) + _share_of_vllm(records)


def _share_of_vllm(records: Sequence[Record]) -> str:
    real = _runs(records, VLLM)
    if not real:
        return ""
    numbers = f"{_sum(real, 'kills'):,} kills and {_sum(real, 'sent'):,} requests"
    return f"Of these, {numbers} were with real vLLM, the others with simulated engines.\n"


def tables(records: Sequence[Record]) -> str:
    """All runs, and how long streams stood still in the last one of each kind of engine."""
    engines = [engine for engine in _ENGINES if _runs(records, engine)]
    if not engines:
        return "\nNo run was kept yet.\n\n"
    columns = [_summed(_runs(records, engine)) for engine in engines]
    rows = [[name, *(f"{column[name]:,}" for column in columns)] for name in columns[0]]
    lines = ["", *_table(["", *(_ENGINES[engine] for engine in engines)], rows), ""]
    for engine in engines:
        runs = _runs(records, engine)
        strikes, failed = (_total(runs, name) for name in ("strikes", "failed"))
        gaps = [
            [kind, f"{gap['streams']:,}", f"{gap['p50']:.2f}", f"{gap['p99']:.2f}", f"{gap['most']:.2f}"]
            for kind, gap in runs[-1]["gaps_s"].items()
        ]
        lines += [
            f"With {_ENGINES[engine]}: errors: {_listed(failed)}. Faults: {_listed(strikes)}.",
            "",
            f"From a fault to the next token, in the last run ({_conditions(runs[-1])}):",
            "",
            *_table(["fault", "streams that it concerned", "p50, s", "p99, s", "longest, s"], gaps),
            "",
        ]
    return "\n".join([*lines, ""])


def _summed(records: Sequence[Record]) -> dict[str, int]:
    return {
        "runs": len(records),
        "processes killed (`kill -9`)": _sum(records, "kills"),
        "faults of all kinds": _total(records, "strikes").total(),
        "requests sent": _sum(records, "sent"),
        "answered": _sum(records, "answered"),
        "ended with a clear error": _total(records, "failed").total(),
        "lost": _sum(records, "lost"),
        "tokens missing": _sum(records, "missing"),
        "tokens sent twice": _sum(records, "duplicated"),
        "answers that differ": _sum(records, "differing"),
        "streams picked up at another gateway": _sum(records, "picked_up"),
        "requests sent again, since their gateway had died": _sum(records, "asked_again"),
        "of these, joined by their key": _sum(records, "joined"),
    }


def _runs(records: Sequence[Record], engine: str) -> list[Record]:
    # The first ones were made before there was another engine.
    return [record for record in records if record.get("engine", SIMULATED) == engine]


def _conditions(record: Record) -> str:
    numbers = {
        "streams": "streams",
        "workers": "workers",
        "gateways": "gateways",
        "cores that all of them share": "cores",
    }
    sizes = ", ".join(f"{record[name]} {what}" for what, name in numbers.items())
    lease = f"leases of {record['lease_s']:g} s, `TESSERA_MAX_ATTEMPTS` {record['max_attempts']}"
    load = f" at a load average of {record['load']:g}" if "load" in record else ""
    return f"{record['date']}, {record['version']}; {lease}, {sizes}{load}, `appendfsync {record['fsync']}`"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [_row(head), _row(["-"] * len(head)), *map(_row, rows)]


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in counts.most_common()) or "none"


def _sum(records: Sequence[Record], name: str) -> int:
    return sum(record[name] for record in records)


def _total(records: Sequence[Record], name: str) -> Counter[str]:
    total: Counter[str] = Counter()
    for record in records:
        total.update(record[name])
    return total


PAGES = {FOLDER.parents[1] / "docs" / "reliability.md": tables, FOLDER.parents[1] / "README.md": sentence}
