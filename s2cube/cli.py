"""The command line: ``s2cube demo`` and ``s2cube daily``."""

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from s2cube import schema
from s2cube.gapfill import DEFAULT, METHODS, fill_gaps
from s2cube.job import read_job
from s2cube.masks import mask_clouds
from s2cube.sources import open_stac, period
from s2cube.store import write_daily

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status (2: wrong use, 1: the job failed)."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except (ValueError, LookupError, OSError) as error:
        print(f"s2cube: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="s2cube",
        description="Sentinel-2 as analysis-ready, gap-free daily cubes.",
        epilog="Run 's2cube COMMAND --help' for what a command needs.",
    )
    parser.add_argument("--version", action="version", version=f"s2cube {version('s2cube-ard')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_daily(commands)
    return parser


def _add_demo(commands: Any) -> None:
    demo = commands.add_parser(
        "demo",
        help="make two gap-free years from real data that come with the extra 'demo'",
        description=(
            "Make a gap-free daily series of two years from real Sentinel-2 data (installed with the "
            "extra 'demo'), two pictures, and a table of errors. A second run resumes."
        ),
    )
    demo.add_argument("--out", default="demo-output", metavar="FOLDER", help="default: %(default)s")
    demo.add_argument("--quiet", action="store_true", help="show no progress")
    demo.set_defaults(run=_demo)


def _add_daily(commands: Any) -> None:
    daily = commands.add_parser(
        "daily",
        help="make a gap-free daily Zarr series from a STAC catalogue",
        description=(
            "Open Sentinel-2 level-2A items, mask clouds by the scene classification, fill the gaps "
            "and write one image a day to a Zarr store. If it is interrupted, run it again: it goes "
            "on where it stopped."
        ),
        epilog=(
            "Example: s2cube daily --source archive/catalog.json --bbox 22.147 45.201 22.157 45.208 "
            "--datetime 2020 --out forest-2020.zarr"
        ),
    )
    daily.add_argument(
        "job",
        nargs="?",
        metavar="JOB.yaml",
        help="a job file, for areas of any size; instead of all but the last three options",
    )
    daily.add_argument("--source", metavar="PATH", help="STAC catalogue or item, path or URL")
    daily.add_argument(
        "--bbox",
        type=float,
        nargs=4,
        metavar=("WEST", "SOUTH", "EAST", "NORTH"),
        help="area in degrees; default: all that the items cover",
    )
    daily.add_argument(
        "--datetime",
        metavar="PERIOD",
        help="days to write: 2020, 2020-06, or 2019-01-01/2020-12-31",
    )
    daily.add_argument("--out", metavar="STORE", help="Zarr store to write, a folder")
    daily.add_argument("--bands", nargs="+", metavar="BAND", help="such as red nir B11; default: all")
    daily.add_argument(
        "--resolution", type=float, metavar="M", help="pixel size; default: the finest band's"
    )
    daily.add_argument("--crs", help="such as EPSG:32633; default: the items'")
    daily.add_argument(
        "--buffer", type=float, default=60, metavar="M", help="metres around clouds to mask; default: 60"
    )
    daily.add_argument("--method", choices=tuple(METHODS), default=DEFAULT, help=f"default: {DEFAULT}")
    daily.add_argument(
        "--causal", action="store_true", help="use only looks up to each day (not linear, not closest)"
    )
    daily.add_argument(
        "--margin",
        type=int,
        default=60,
        metavar="DAYS",
        help="days before and after the period whose looks help to fill it; default: 60",
    )
    daily.add_argument(
        "--overwrite", action="store_true", help="delete a store made with other settings"
    )
    daily.add_argument("--quiet", action="store_true", help="show no progress")
    daily.add_argument(
        "--explain", action="store_true", help="of a job file: tell what it will take, and do nothing"
    )
    daily.set_defaults(run=_daily, refuse=daily.error)


def _demo(options: argparse.Namespace) -> None:
    from s2cube.demo import run_demo

    print(run_demo(options.out, progress=not options.quiet))


def _daily(options: argparse.Namespace) -> None:
    import pandas as pd

    words = {"--source": options.source, "--datetime": options.datetime, "--out": options.out}
    if options.job is not None:
        if given := [name for name, value in words.items() if value is not None]:
            options.refuse(f"{', '.join(given)}: the job file says it")
        job = read_job(options.job)
        if options.explain:
            print(job.explain())
        else:
            print(job.write(overwrite=options.overwrite, progress=not options.quiet))
        return
    if missing := [name for name, value in words.items() if value is None]:
        options.refuse(f"give a job file, or the following arguments: {', '.join(missing)}")
    first, last = (pd.Timestamp(end).normalize() for end in period(options.datetime))
    if first.year == 1 or last.year == 9999:
        raise ValueError("--datetime needs a first and a last day, such as 2019-01-01/2020-12-31.")
    margin = pd.Timedelta(days=options.margin)
    cube = open_stac(
        options.source,
        bbox=options.bbox,
        datetime=(first - margin, last + margin + pd.Timedelta(days=1)),
        bands=options.bands,
        resolution=options.resolution,
        crs=options.crs,
    )
    clear = mask_clouds(cube, "scl", buffer=options.buffer)
    filled = fill_gaps(clear, options.method, dates=pd.date_range(first, last), causal=options.causal)
    report = write_daily(filled, options.out, overwrite=options.overwrite, progress=not options.quiet)
    print(report)
    bands = ", ".join(schema.bands_of(cube))
    print(f"  looks      {cube.sizes['time']}, bands {bands}")
