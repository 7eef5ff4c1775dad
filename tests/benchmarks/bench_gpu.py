"""How fast networks fill, on the processor and on a GPU: arithmetic, with copies, and end to end."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from networks import gate
from table import best

import s2cube
from s2cube.gapfill.cells import MARGIN, PATCH
from s2cube.models.run import network_of, run_network

INTRO = """Million values (bands × pixels × days) a second of the gap-filling network, on {date}.
*Arithmetic* is the network alone, on windows that are on the device already; *with copies*
brings windows there in half precision and takes results back; *end to end* is `fill_gaps` on
a cube in memory, experts and all, which run on the processor in either case. *Bus* is what
copies alone would allow."""
PEERS = ()
WINDOWS = 512
Table = tuple[str, list[str], list[list[str]]]


def tables(_: Path | None, tell: Callable[[str], None]) -> list[Table]:
    """Return the table; `tell` hears where there is no GPU."""
    head = ["Device", "arithmetic", "with copies", "bus", "end to end"]
    rows = [_row("cpu", "processor, one thread")]
    if torch.cuda.is_available():
        rows.append(_row("cuda", torch.cuda.get_device_name()))
    else:
        rows.append(["GPU", "-", "-", "-", "-"])
        tell("the row of a GPU: there is none here. `make bench` on a machine that has one fills it.")
    return [("Networks that fill", head, rows)]


def _row(device: str, name: str) -> list[str]:
    torch.set_num_threads(1)
    cube = s2cube.testing.simulate_cube(
        shape=(128, 128), seed=3, bands=["red", "nir"], end="2021-12-31"
    ).s2.mask_clouds()
    spec = gate(width=32)
    network = network_of(spec, device)
    told = np.random.default_rng(0).standard_normal((WINDOWS, spec.shape[0], PATCH, PATCH), np.float32)
    half = told.astype(np.float16)
    there = torch.from_numpy(told).to(device)

    def arithmetic() -> None:
        with torch.inference_mode():
            for some in there.split(64):
                network(some)
        if device == "cuda":
            torch.cuda.synchronize()

    def bus() -> None:
        torch.from_numpy(half).to(device).cpu()

    def whole() -> None:
        cube.s2.fill_gaps(spec, device=device).compute(scheduler="sync")

    arithmetic()
    taken = best(arithmetic, lambda: run_network(half, spec, device=device), bus, whole)
    days = int(np.ptp(s2cube.schema.solar_days(cube))) + 1
    values = [WINDOWS * (PATCH - 2 * MARGIN) ** 2] * 3 + [2 * days * 128 * 128]
    cells = [f"{count / seconds / 1e6:.3g}" for count, seconds in zip(values, taken, strict=True)]
    if device == "cpu":
        cells[2] = "-"  # nothing is copied
    return [name, *cells]
