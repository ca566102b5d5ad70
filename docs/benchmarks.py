"""The tables of the page on benchmarks, from a file that the benchmarks have written.

    tox -e bench -- --csv build/benchmarks.csv
    python docs/benchmarks.py build/benchmarks.csv

Each table stands between two comments, ``begin`` with its topic and ``end``; so does the machine.
"""

import csv
import re
import sys
from pathlib import Path

PAGE = Path(__file__).parent / "develop" / "benchmarks.rst"
HEADER = ("what", "compared with", "measured", "asked")


def table(rows):
    """Write rows as a table of reStructuredText."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in [HEADER, *rows]:
        marks = ["   * - ", *["     - "] * (len(row) - 1)]
        lines += [(mark + cell).rstrip() for mark, cell in zip(marks, row, strict=True)]
    return "\n".join(lines)


def written(page, rows):
    """Put the rows of each topic into the page."""
    found = {}
    for topic, *cells in rows:
        found.setdefault(topic, []).append(cells)
    for topic, cells in found.items():
        text = cells[0][0] if topic == "machine" else table(cells)
        begin, end = f".. begin {topic}\n", f".. end {topic}\n"
        if begin not in page or end not in page:
            raise ValueError(f"the page has no place for {topic!r}: {begin}{end}")
        pattern = re.escape(begin) + ".*?" + re.escape(end)
        page = re.sub(
            pattern, lambda _, new=f"{begin}\n{text}\n\n{end}": new, page, flags=re.DOTALL
        )
    return page


def main(file):
    """Write the page again."""
    with Path(file).open(newline="", encoding="utf-8") as lines:
        rows = list(csv.reader(lines))[1:]
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), rows), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
