"""Kills without end: whatever happens to a writer, the store is whole or as before; a rerun finishes it.

    make soak                                     # the long one, into docs/soak.md
    python tests/soak.py --kills 20 --rounds 0    # a short one; prints the table

The tests of the store run a short one.
A kill is ``kill -9``: half of them at a random instant, half at the first sight of a new file. After
each, the store is looked at, the same program is run to its end, and the result is compared, byte for
byte, with a store that was written without interruption.
"""

import argparse
import contextlib
import datetime
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from buckets import bucket_served, environment

import s2cube
from s2cube.errors import StoreError
from s2cube.store.append import MARKS
from s2cube.store.ledger import Ledger
from s2cube.store.target import LocalTarget, Target, facts_of, open_target

Job = Literal["write", "append"]
KINDS = {"folder": "series", "folder, other shards": "balanced", "object store": "series"}
"""Kinds of targets, with the profile of their shards."""
BEGUN = 21
"""Days that a store has before others are appended."""
PATIENCE = 300
"""Seconds after which a writer hangs."""

WRITER = f"""
import sys
import s2cube
from s2cube.store.ledger import claims
store, job, profile = sys.argv[1:4]
claims.POLL = 0.05
if store.startswith("s3:"):
    claims.EXPIRY = 3.0  # without locks, what a killed run had claimed is free only then
cube = s2cube.testing.simulate_cube(
    shape=(300, 800), seed=3, bands=["red"], start="2021-06-01", end="2021-07-15",
    chunks={{"time": 1, "y": 256, "x": 256}},
)
daily = cube.s2.mask_clouds("scl", buffer=30).s2.fill_gaps("last", causal=True)
how = {{"region_size": 256, "profile": profile, "append_every": 16, "progress": False}}
print("ready", flush=True)
if job == "append":
    report = daily.isel(time=slice({BEGUN}, None)).s2.append_daily(store, progress=False)
else:
    first = daily.isel(time=slice(0, {BEGUN})) if job == "begin" else daily
    report = first.s2.write_daily(store, **how)
print(report.written, flush=True)
"""


@dataclass
class Tally:
    """What was seen of one job on one kind of target."""

    kills: int = 0
    at_work: int = 0
    """Kills that met a writer at work: the others had finished."""
    torn: int = 0
    """Stores that opened half made, or whose published days had changed."""
    lost: int = 0
    """Files that were missing after the rerun."""
    lies: int = 0
    """Marks, or sums in the ledger, that did not fit the files."""
    equal: int = 0
    """Reruns that ended in the same store."""
    told: list[str] = field(default_factory=list)
    """What was wrong, in words."""

    @property
    def facts(self) -> tuple[int, ...]:
        """What the table says."""
        return self.kills, self.at_work, self.torn, self.lost, self.lies, self.equal

    @property
    def clean(self) -> bool:
        """Whether nothing was torn or lost, no mark lied, and every rerun ended in the same store."""
        return not (self.torn or self.lost or self.lies) and self.equal == self.kills


@dataclass(frozen=True)
class Place:
    """Where stores of one kind are written, and by which shards."""

    root: str
    profile: str

    def path(self, name: str) -> str:
        """Return the address of a store."""
        return f"{self.root}/{name}.zarr"

    def clear(self, name: str) -> None:
        """Remove a store and all that is beside it."""
        for suffix in ("", ".s2cube"):
            open_target(f"{self.path(name)}{suffix}").delete_tree()

    def copy(self, name: str, other: str) -> None:
        """Copy a finished store."""
        target = open_target(self.path(name))
        if isinstance(target, LocalTarget):
            shutil.copytree(target.root, self.path(other))
        else:
            target.carry_to(open_target(self.path(other)))


def content_of(address: str) -> dict[str, bytes]:
    """Every file of a store; the ledger left out, which names versions."""
    target = open_target(address)
    return target.get_all(key for key in target.sizes() if not key.startswith("ledger/"))


def seen_in(address: str) -> set[str]:
    """Every file of a store and of the work on it, by name."""
    return {
        f"{suffix}/{key}"
        for suffix in ("", ".s2cube")
        for key in open_target(f"{address}{suffix}").sizes()
    }


@contextlib.contextmanager
def writer(place: Place, name: str, job: str) -> Iterator[subprocess.Popen[str]]:
    """Start a writer; goes on when its cube is made and it begins to write. It is dead at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, place.path(name), job, place.profile],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        if process.stdout.readline() != "ready\n":
            raise RuntimeError(process.communicate(timeout=PATIENCE)[1])
        yield process
    finally:
        process.kill()
        process.communicate()


def finish(process: subprocess.Popen[str]) -> None:
    """Let a writer come to its end."""
    _, errors = process.communicate(timeout=PATIENCE)
    if process.returncode:
        raise RuntimeError(errors)


def written(place: Place, name: str, job: str) -> tuple[float, int]:
    """Write without interruption; return the seconds it took and the new files that there were."""
    before = seen_in(place.path(name))
    with writer(place, name, job) as process:
        began = time.monotonic()
        finish(process)
    return time.monotonic() - began, len(seen_in(place.path(name)) - before)


def kill(process: subprocess.Popen[str], address: str, span: float, files: int, rng: Any) -> bool:
    """Kill a writer, at some instant or on the first sight of some new file; return whether in time."""
    if rng.random() < 0.5:
        time.sleep(float(rng.uniform(0, span)))
    else:
        before, wanted = seen_in(address), int(rng.integers(1, files + 1))
        while process.poll() is None and len(seen_in(address) - before) < wanted:
            time.sleep(0.0005)  # not to take the core from it
    in_time = process.poll() is None
    process.kill()
    process.wait()
    return in_time


def look(address: str, job: Job, expected: dict[str, bytes], begun: Any, tally: Tally) -> None:
    """Look at a store whose writer was killed: it opens as before or not at all, and no mark lies."""
    target = open_target(address)
    ledger = Ledger(target)
    try:
        cube = s2cube.open_daily(address)
    except StoreError as error:
        if job == "append":
            tally.torn += 1
            tally.told.append(f"does not open: {error}")
    else:
        days = cube.drop_attrs(deep=False).compute()
        whole = job == "write" or days.sizes["time"] != BEGUN
        if whole and content_of(address).items() ^ expected.items():
            tally.torn += 1
            tally.told.append("opens, and is not what it is to be")
        if begun is not None and not days.isel(time=slice(0, BEGUN)).identical(begun):
            tally.torn += 1
            tally.told.append("published days have changed")
        report = s2cube.verify(address, progress=False)
        if not report.ok:
            tally.lies += 1
            tally.told.append(str(report))
    if job == "write":
        tally.lies += lies_of(ledger.marks(), target) if ledger.attributes() else 0
    tally.lies += lies_of(Ledger(target, MARKS).fresh_marks(), target)


def lies_of(marks: Any, target: Target) -> int:
    """Count marks whose files are not what they say."""
    found = 0
    for mark in marks.values():
        for file, facts in mark.files.items():
            content = target.get(file)
            if (None if content is None else facts_of(content)) != facts:
                found += 1
                break
    return found


def kills(place: Place, job: Job, number: int, rng: Any, *, kills_each: int = 1) -> Tally:
    """Kill writers, look at what is there, run each to its end and compare."""
    tally, begun = Tally(), None
    for name in ("begun", "whole", "killed"):
        place.clear(name)
    if job == "append":
        written(place, "begun", "begin")
        begun = s2cube.open_daily(place.path("begun")).drop_attrs(deep=False).compute()
        place.copy("begun", "whole")
    span, files = written(place, "whole", job)
    expected = content_of(place.path("whole"))
    store = place.path("killed")
    while tally.kills < number:
        place.clear("killed")
        if job == "append":
            place.copy("begun", "killed")
        for _ in range(kills_each):
            with writer(place, "killed", job) as process:
                tally.at_work += kill(process, store, span, files, rng)
            look(store, job, expected, begun, tally)
            tally.kills += 1
        written(place, "killed", job)
        found = content_of(store)
        tally.lost += len(expected.keys() - found.keys())
        if found == expected and s2cube.verify(store, progress=False).ok:
            tally.equal += kills_each
        else:
            differ = [key for key in expected if found.get(key) != expected[key]]
            tally.told.append(f"differs after the rerun: {differ or set(found) - set(expected)}")
    for name in ("begun", "whole", "killed"):
        place.clear(name)
    return tally


def at_once(place: Place, job: Job, rounds: int) -> Tally:
    """Start two writers of the same at once; a round counts as a kill."""
    tally = Tally()
    for name in ("begun", "whole", "both"):
        place.clear(name)
    if job == "append":
        written(place, "begun", "begin")
        place.copy("begun", "whole")
    written(place, "whole", job)
    expected = content_of(place.path("whole"))
    for _ in range(rounds):
        place.clear("both")
        if job == "append":
            place.copy("begun", "both")
        with writer(place, "both", job) as one, writer(place, "both", job) as other:
            for process in (one, other):
                finish(process)
        compared(place.path("both"), expected, tally)
    return tally


def dying_worker(place: Place, job: Job, rounds: int, rng: Any) -> Tally:
    """Kill a worker of a cluster while it writes; the run goes on without, or a rerun finishes it."""
    from distributed import Client, LocalCluster

    tally = Tally()
    for name in ("begun", "whole", "cluster"):
        place.clear(name)
    if job == "append":
        written(place, "begun", "begin")
        place.copy("begun", "whole")
    span, _ = written(place, "whole", job)
    expected = content_of(place.path("whole"))
    how = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    for _ in range(rounds):
        place.clear("cluster")
        if job == "append":
            place.copy("begun", "cluster")
        with LocalCluster(host="127.0.0.1", **how) as cluster, Client(cluster) as client:
            workers = client.run(os.getpid)
            victim = int(rng.choice(list(workers.values())))
            timer = threading.Timer(float(rng.uniform(0, span)), os.kill, (victim, 9))
            timer.start()
            arguments = [WRITER, place.path("cluster"), job, place.profile]
            with contextlib.suppress(StoreError):
                _run_here(arguments)
            timer.join()
            _run_here(arguments)
        compared(place.path("cluster"), expected, tally)
    return tally


def _run_here(arguments: list[str]) -> None:
    """Run the writer in this process, where a client is."""
    program, *words = arguments
    before = sys.argv
    sys.argv = ["writer", *words]
    try:
        with contextlib.redirect_stdout(None):
            exec(compile(program, "writer", "exec"), {})
    finally:
        sys.argv = before


def compared(address: str, expected: dict[str, bytes], tally: Tally) -> None:
    """Hold a finished store against what was written without interruption."""
    found = content_of(address)
    tally.kills += 1
    tally.at_work += 1
    tally.lost += len(expected.keys() - found.keys())
    tally.lies += not s2cube.verify(address, progress=False).ok
    if found == expected:
        tally.equal += 1
    else:
        tally.told.append(f"differs: {[key for key in expected if found.get(key) != expected[key]]}")


@contextlib.contextmanager
def places(kinds: list[str]) -> Iterator[dict[str, Place]]:
    """Make a place of each kind, for as long as it is needed."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="s2cube-soak-"))
        found = {}
        for kind in kinds:
            root = str(Path(folder, KINDS[kind]))
            if kind == "object store":
                os.environ.update(environment(stack.enter_context(bucket_served())))
                root = "s3://bucket/soak"
            found[kind] = Place(root, KINDS[kind])
        yield found


HEAD_OF_PAGE = """# Soak

What is left of a store whose writer dies. Made by `make soak` on {date}, with s2cube {version},
in {minutes:.0f} minutes (`--kills {kills} --rounds {rounds} --seed {seed}`).

- *kill -9*: a writer is killed, in half of the cases at a random instant, else at the first sight of a
  new file. The store is looked at, then the same program is run to its end.
- *two writers*: the same program twice at once.
- *a dying worker*: one of two Dask workers is killed at a random instant; where that ended the run, it
  is run again.

*At work*: how many met a writer that had not finished. *Torn*: stores that opened half made, or whose
published days had changed. *Lost*: files that were missing in the end. *Lying marks*: marks that did
not fit the files. *Reruns equal*: stores that were, byte for byte, what one uninterrupted run makes.
*Other shards* are those of `profile="balanced"`; the *object store* is a service on the same machine
that speaks S3.

"""
COLUMNS = "what", "job", "target", "rounds", "at work", "torn", "lost", "lying marks", "reruns equal"


def line(cells: Iterable[object]) -> str:
    """Return a line of the table."""
    return f"| {' | '.join(map(str, cells))} |"


def rounds(
    found: Mapping[str, Place], asked: argparse.Namespace
) -> Iterator[tuple[tuple[str, Job, str], Tally]]:
    """Do everything that is asked for, shared among targets and jobs."""
    rng = np.random.default_rng(asked.seed)
    cells: list[tuple[str, Job]] = [(kind, job) for kind in found for job in asked.jobs]
    for number, (kind, job) in enumerate(cells):
        killed, others = (
            total // len(cells) + (number < total % len(cells)) for total in (asked.kills, asked.rounds)
        )
        if killed:
            yield ("kill -9", job, kind), kills(found[kind], job, killed, rng)
        if others:
            yield ("two writers", job, kind), at_once(found[kind], job, others)
            yield ("a dying worker", job, kind), dying_worker(found[kind], job, others, rng)


def main() -> int:
    """Soak as asked, print the table, write it if asked; 1 where anything was wrong."""
    words = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    words.add_argument("--kills", type=int, default=200, help="of all targets and jobs together")
    words.add_argument("--rounds", type=int, default=20, help="of two writers, and of a dying worker")
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    words.add_argument("--jobs", nargs="+", choices=["write", "append"], default=["write", "append"])
    words.add_argument("--write", type=Path, metavar="PAGE", help="put the table into this page")
    asked = words.parse_args()
    began, clean = time.monotonic(), True
    table = [line(COLUMNS), line(["---"] * 3 + ["---:"] * 6)]
    print("\n".join(table), flush=True)
    with places(asked.kinds) as found:
        for names, tally in rounds(found, asked):
            clean &= tally.clean
            table.append(line([*names, *tally.facts]))
            print(table[-1], flush=True)
            for told in tally.told:
                print(f"{', '.join(names)}: {told}", file=sys.stderr)
    if asked.write:
        minutes = (time.monotonic() - began) / 60
        date = datetime.date.today().isoformat()
        facts = {**vars(asked), "date": date, "version": s2cube.__version__, "minutes": minutes}
        head = HEAD_OF_PAGE.format(**facts)
        asked.write.write_text(head + "\n".join(table) + "\n")
    return not clean


if __name__ == "__main__":
    sys.exit(main())
