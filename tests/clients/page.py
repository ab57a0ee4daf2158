"""The table of ``docs/clients.md``, made of what was tested: ``make clients-page``."""

from __future__ import annotations

from pathlib import Path

from tests.clients.catalogue import CAPABILITIES, CLIENTS, results

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"
BEGIN, END = "<!-- table: written by `make clients-page` -->\n", "<!-- end of table -->\n"


def inserted(text: str) -> str:
    """The page with the table as it should be. Raises ``ValueError`` where it has no place for it."""
    before, begun, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (begun and ended):
        raise ValueError(f"the page has no line {(END if begun else BEGIN).strip()}")
    return before + BEGIN + table() + END + after


def table() -> str:
    """A row for each client that was tested, a column for whatever any of them did."""
    kept = results()
    columns = [each for each in CAPABILITIES if any(each in result.capabilities for result in kept.values())]
    lines = [["client", "version", *columns], ["-"] * (2 + len(columns))]
    for client in CLIENTS:
        if client.name in kept:
            result = kept[client.name]
            cells = ["yes" if each in result.capabilities else "" for each in columns]
            lines.append([client.title, f"`{client.package}` {result.version}", *cells])
    return "\n" + "".join(f"| {' | '.join(line)} |\n".replace("  ", " ") for line in lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(inserted(PAGE.read_text()))
