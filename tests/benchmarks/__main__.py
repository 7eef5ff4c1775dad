"""Speed beside peers, and what memory allows; masks beside each other: one process, the same data.

    make bench         # prints the tables
    make bench-docs    # and puts them into docs/benchmarks.md

What counts is the ratio; seconds depend on the machine. Not part of the test suite.

Masks and filling are compared at the demo's place, and at one of level 1C, of which the data are one's
own: a file that xarray opens (NetCDF, a Zarr store), with B01 to B12 in counts before processing
baseline 04.00 (no offset, 0 is no data) along time and the axes of a grid, and its CRS in the attribute
``crs``. Name it by ``--data``, or in the variable ``S2CUBE_LEVEL_1C``. Methods without their extra are
left out.
"""

import argparse
import datetime
import os
import platform
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from table import HEAD, Cells, line, markdown, measure

HEAD_OF_PAGE = """# Benchmarks

How fast s2cube's kernels are beside what one would use else. Made by `make bench-docs` on {date}, on
{machine}, with {versions}.

All run in one process and one thread, in turn and several times, on the same data, each in the layout
it likes best. The best time of each counts, without compilation. *Times as fast* is the ratio; seconds
depend on the machine. *Of the floor* tells how near the kernel is to what memory allows: reading the
looks once and writing the result once, at the speed of a plain copy of as many bytes. *Difference* is
how far the results are apart; for geomedians, how far each is at most from a slow reference in double
precision, in counts of 0.0001.
"""
COMPOSITES = """
Loops compiled by numba (the extra `fast`). The percentiles are 25, 50 and 75, and s2cube counts the
looks in the same pass. Percentiles are of random numbers, 40 % missing; geomedians of simulated looks.

"""
PEERS = ("numpy", "numba", "numbagg", "geomad", "xarray", "bottleneck", "whittaker_eilers")


def machine() -> str:
    """Return the name of the processor."""
    facts = Path("/proc/cpuinfo")
    if facts.exists():
        for fact in facts.read_text().splitlines():
            if fact.startswith("model name"):
                return f"one core of an {fact.partition(':')[2].strip()}"
    return platform.processor() or platform.machine()


def versions(names: tuple[str, ...]) -> str:
    """Return the versions of those packages that are installed."""
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def table(title: str, rows: object) -> list[Cells]:
    """Print a table line by line, as it comes, and return it."""
    print(f"\n{title}\n{line(HEAD)}")
    cells = []
    for row in measure(rows):
        print(line(row), flush=True)
        cells.append(row)
    return cells


def composites(_: argparse.Namespace) -> str:
    """Return the section on composites."""
    # Here, so that one section can be made without the peers of the others.
    import bench_composites

    return COMPOSITES + markdown(table("Composites", bench_composites.rows()))


def fill(_: argparse.Namespace) -> str:
    """Return the section on filling."""
    import bench_fill

    speeds = markdown(table("Filling gaps", bench_fill.rows()))
    rates = bench_fill.rates()
    print(f"\n{rates}")
    return f"{speeds}\n\n{rates}"


def masks(asked: argparse.Namespace) -> str:
    """Return the section on masks."""
    import bench_masks

    return told("Masks", bench_masks, asked)


def accuracy(asked: argparse.Namespace) -> str:
    """Return the section on how far filled values are from hidden looks."""
    import bench_accuracy

    return told("Accuracy of filling", bench_accuracy, asked)


def gpu(asked: argparse.Namespace) -> str:
    """Return the section on devices."""
    import bench_gpu

    return told("GPU", bench_gpu, asked)


def ground(asked: argparse.Namespace) -> str:
    """Return the section on level 2A from level 1C."""
    import bench_l2a

    return told("Level 2A", bench_l2a, asked)


def scale(asked: argparse.Namespace) -> str:
    """Return the section on large areas."""
    import bench_scale

    text = told("Scale", bench_scale, asked)
    if asked.write:
        bench_scale.draw(asked.write.parent / "images" / "scale.png")
        text += "\n\n![Overhead a region against the number of regions](images/scale.png)"
    return f"{text}\n\n{bench_scale.CLOSING}"


def tile(asked: argparse.Namespace) -> str:
    """Return the section on a tile of files."""
    import bench_tile

    return f"{told('Tile of a year', bench_tile, asked)}\n\n{bench_tile.CLOSING}"


def told(title: str, section: ModuleType, asked: argparse.Namespace) -> str:
    """Print the tables of a section that measures something else than speed, and return it."""
    left_out: list[str] = []
    print(f"\n{title}")
    parts = [section.INTRO.format(date=today(), machine=machine(), versions=versions(section.PEERS))]
    for caption, head, rows in section.tables(asked.data, left_out.append):
        rulers = ["---", *["---:"] * (len(head) - 1)]
        text = "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rulers, *rows))
        parts.append(f"**{caption}**\n\n{text}")
        print(f"\n{parts[-1]}", flush=True)
    parts += [f"Not here: {words}" for words in dict.fromkeys(left_out)]
    return "\n\n".join(parts)


SECTIONS: dict[str, Callable[[argparse.Namespace], str]] = {
    "Composites": composites,
    "Filling gaps": fill,
    "Accuracy of filling": accuracy,
    "GPU": gpu,
    "Masks": masks,
    "Level 2A": ground,
    "Scale": scale,
    "Tile of a year": tile,
}


def today() -> str:
    """Return the date."""
    return datetime.date.today().isoformat()


def put(page: str, title: str, text: str) -> str:
    """Return a page with another text in a section, which comes last where there is none yet."""
    section = f"## {title}\n\n{text.strip()}\n"
    found, count = re.subn(
        rf"^## {title}\n.*?(?=^## |\Z)", lambda _: f"{section}\n", page, flags=re.M | re.S
    )
    return (found if count else f"{page.rstrip()}\n\n{section}").rstrip() + "\n"


def main() -> None:
    """Measure, print, and write if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables into this page")
    parser.add_argument(
        "--only", choices=[title.split()[0].lower() for title in SECTIONS], help="one section, not all"
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("S2CUBE_LEVEL_1C"),
        help="a series of level 1C, to compare masks and filling on",
    )
    asked = parser.parse_args()
    page = asked.write.read_text() if asked.write and asked.write.exists() else "# Benchmarks\n"
    if asked.only is None:
        # What it says of machine and versions is of the sections on speed.
        head = HEAD_OF_PAGE.format(date=today(), machine=machine(), versions=versions(PEERS))
        page = re.sub(r"\A.*?(?=^## |\Z)", lambda _: f"{head}\n", page, flags=re.M | re.S)
    for title, measured in SECTIONS.items():
        if asked.only in (None, title.split()[0].lower()):
            page = put(page, title, measured(asked))
            if asked.write:
                asked.write.write_text(page)


if __name__ == "__main__":
    sys.exit(main())
