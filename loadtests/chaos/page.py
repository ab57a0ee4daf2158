"""The pages that show what all runs have counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from loadtests.chaos.record import FOLDER, Record, read

BEGIN, END = "<!-- counts: written by `make chaos-page` -->\n", "<!-- end of counts -->\n"


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
    ).format(**numbers)


def tables(records: Sequence[Record]) -> str:
    """All runs, and how long streams stood still in the last one."""
    if not records:
        return "\nNo run was kept yet.\n\n"
    last = records[-1]
    strikes, failed = (_total(records, name) for name in ("strikes", "failed"))
    summed = {
        "processes killed (`kill -9`)": _sum(records, "kills"),
        "faults of all kinds": strikes.total(),
        "requests sent": _sum(records, "sent"),
        "answered": _sum(records, "answered"),
        "ended with a clear error": failed.total(),
        "lost": _sum(records, "lost"),
        "tokens missing": _sum(records, "missing"),
        "tokens sent twice": _sum(records, "duplicated"),
        "answers that differ": _sum(records, "differing"),
        "streams picked up at another gateway": _sum(records, "picked_up"),
        "requests sent again, since their gateway had died": _sum(records, "asked_again"),
        "of these, joined by their key": _sum(records, "joined"),
    }
    return "\n".join(
        [
            "",
            f"Over {len(records)} runs:" if len(records) > 1 else "In one run:",
            "",
            *_table(["", "number"], [[name, f"{number:,}"] for name, number in summed.items()]),
            "",
            f"Errors: {_listed(failed)}. Faults: {_listed(strikes)}.",
            "",
            f"From a fault to the next token, in the last run ({_conditions(last)}):",
            "",
            *_table(
                ["fault", "streams that it concerned", "p50, s", "p99, s", "longest, s"],
                [
                    [kind, f"{gap['streams']:,}", f"{gap['p50']:.2f}", f"{gap['p99']:.2f}", f"{gap['most']:.2f}"]
                    for kind, gap in last["gaps_s"].items()
                ],
            ),
            "",
            "",
        ]
    )


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
