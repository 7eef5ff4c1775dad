"""Speed beside peers, and what memory allows: one process, one thread, the same data.

    make bench         # prints the tables
    make bench-docs    # and puts them into docs/benchmarks.md

What counts is the ratio; seconds depend on the machine. Not part of the test suite.
"""

import argparse
import datetime
import platform
import sys
from pathlib import Path

import bench_composites
import bench_fill
from table import HEAD, Cells, line, markdown, measure

PAGE = """# Benchmarks

How fast s2cube's kernels are beside what one would use else. Made by `make bench-docs` on {date}, on
{machine}, with {versions}.

All run in one process and one thread, in turn and several times, on the same data, each in the layout
it likes best. The best time of each counts, without compilation. *Times as fast* is the ratio; seconds
depend on the machine. *Of the floor* tells how near the kernel is to what memory allows: reading the
looks once and writing the result once, at the speed of a plain copy of as many bytes. *Difference* is
how far the results are apart; for geomedians, how far each is at most from a slow reference in double
precision, in counts of 0.0001.

## Composites

Loops compiled by numba (the extra `fast`). The percentiles are 25, 50 and 75, and s2cube counts the
looks in the same pass. Percentiles are of random numbers, 40 % missing; geomedians of simulated looks.

{composites}

## Filling gaps

{fill}
"""


def machine() -> str:
    """Return the name of the processor."""
    facts = Path("/proc/cpuinfo")
    if facts.exists():
        for fact in facts.read_text().splitlines():
            if fact.startswith("model name"):
                return f"one core of an {fact.partition(':')[2].strip()}"
    return platform.processor() or platform.machine()


def versions() -> str:
    """Return the versions of the peers."""
    from importlib.metadata import version

    names = ("numpy", "numba", "numbagg", "geomad", "xarray", "bottleneck")
    return ", ".join(f"{name} {version(name)}" for name in names)


def table(title: str, rows: object) -> list[Cells]:
    """Print a table line by line, as it comes, and return it."""
    print(f"\n{title}\n{line(HEAD)}")
    cells = []
    for row in measure(rows):
        print(line(row), flush=True)
        cells.append(row)
    return cells


def main() -> None:
    """Measure, print, and write if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables into this page")
    write = parser.parse_args().write
    composites = table("Composites", bench_composites.rows())
    fill = table("Filling gaps", bench_fill.rows())
    if write:
        write.write_text(
            PAGE.format(
                date=datetime.date.today().isoformat(),
                machine=machine(),
                versions=versions(),
                composites=markdown(composites),
                fill=markdown(fill),
            )
        )


if __name__ == "__main__":
    sys.exit(main())
