"""Directives for what the code knows better than a page: tables, layers, help texts.

``{schema-table} bands`` (or ``scl``, ``status``, ``provenance``) is a table of
:mod:`s2cube.schema`; ``{command-help}`` is the help text of ``s2cube``, or of one of its commands;
``{layers}`` draws the rooms that ``tests/test_structure.py`` enforces; ``{offset-table} rules``
are those of :mod:`s2cube.harmonize`, and ``providers`` the cases of ``tests/offset_cases.py``.
"""

import ast
import contextlib
import inspect
import io
import os
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import s2cube
from s2cube.cli import main
from s2cube.harmonize import RULES, OffsetFacts
from s2cube.schema import BANDS, SCL_CLASSES, SCL_STATUS, Provenance, Status

Table = tuple[list[str], list[list[str]]]

ROOT = Path(__file__).resolve().parents[2]
PAGES = {"architecture", "concepts/cli", "concepts/cube", "concepts/offsets"}
"""Pages that use these directives."""

# Taken now: later Sphinx puts its own objects in the place of default values.
MASKED = tuple(inspect.signature(s2cube.mask_clouds).parameters["classes"].default)

# What a flag means, for the reader; the names and numbers themselves come from the code.
STATUS_MEANS = {
    Status.CLEAR: "the ground was seen",
    Status.CLEAR_WATER: "water was seen",
    Status.SNOW: "snow or ice was seen",
    Status.THIN_CLOUD: "thin cloud, cirrus",
    Status.SHADOW: "shadow of a cloud",
    Status.CLOUD: "cloud",
    Status.SATURATED: "the sensor was saturated, or the pixel is defective",
    Status.NO_DATA: "nothing was measured here on this date",
    Status.READ_FAILED: "the file could not be read (`on_read_error='mark'`)",
}
PROVENANCE_MEANS = {
    Provenance.OBSERVED: "seen clear on this very day; the value is the look's",
    Provenance.INTERPOLATED: "between two clear looks",
    Provenance.EXTRAPOLATED: "beyond the last look that the method leans on",
    Provenance.SAME_DATE: "predicted from other pixels of the same date",
    Provenance.NETWORK: "predicted by a network",
    Provenance.OTHER_SENSOR: "estimated with the help of another sensor",
    Provenance.NEVER_OBSERVED: "no clear look to lean on; missing",
}


def dropped(state: Status) -> str:
    """Return when :func:`s2cube.mask_clouds` drops looks of `state`."""
    if state >= Status.SATURATED:
        return "always"
    if state == Status.CLEAR:
        return "never"
    return "by default" if state.name.lower() in MASKED else "on request"


def bands() -> Table:
    """Return the bands of the instrument."""
    head = ["Band", "Common name", "Also", "Centre, nm", "Width, nm", "Pixel, m"]
    rows = [
        [
            f"`{band.id}`",
            f"`{band.common_name}`",
            ", ".join(f"`{alias}`" for alias in band.aliases),
            f"{band.wavelength:g}",
            f"{band.fwhm:g}",
            f"{band.resolution}",
        ]
        for band in BANDS.values()
    ]
    return head, rows


def scl() -> Table:
    """Return the classes of SCL, and the status that each gives a look."""
    head = ["SCL", "Class", "Status", "Dropped"]
    rows = [
        [f"{value}", f"`{name}`", f"`{SCL_STATUS[value].name.lower()}`", dropped(SCL_STATUS[value])]
        for value, name in SCL_CLASSES.items()
    ]
    return head, rows


def status() -> Table:
    """Return the states of a look."""
    head = ["Value", "Name", "Meaning", "Dropped"]
    rows = [
        [f"{state.value}", f"`{state.name.lower()}`", STATUS_MEANS[state], dropped(state)]
        for state in Status
    ]
    return head, rows


def provenance() -> Table:
    """Return where values come from."""
    head = ["Value", "Name", "Meaning"]
    rows = [[f"{kind.value}", f"`{kind.name.lower()}`", PROVENANCE_MEANS[kind]] for kind in Provenance]
    return head, rows


def layers() -> list[list[tuple[str, int]]]:
    """Return the rooms from top to bottom, as the test has them, each with its lines of code."""
    tree = ast.parse((ROOT / "tests" / "test_structure.py").read_text())
    (value,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "LAYERS"
    )
    # Sets have no order, and a page must not change from build to build.
    return [[(room, _lines(room)) for room in sorted(rooms)] for rooms in ast.literal_eval(value)]


def _lines(room: str) -> int:
    package = Path(s2cube.__file__).parent
    folder = package / room
    files = folder.rglob("*.py") if folder.is_dir() else [package / f"{room}.py"]
    return sum(len(file.read_text().splitlines()) for file in files)


def drawn(rows: list[list[tuple[str, int]]]) -> str:
    """Return layers as a drawing, in the colours of the page: a row each, an arrow beside them."""
    left, height, gap, letter = 54, 30, 8, 7.9
    parts, widest, y = [], 0.0, 0
    for rooms in rows:
        x = float(left)
        for name, lines in rooms:
            told = f"{lines:,}"
            width = letter * len(name) + 6.2 * len(told) + 34
            parts.append(
                f'<rect x="{x:g}" y="{y}" width="{width:g}" height="{height}" rx="5"/>'
                f'<text x="{x + 12:g}" y="{y + 20}">{name}</text>'
                f'<text class="few" x="{x + width - 10:g}" y="{y + 20}">{told}</text>'
            )
            x += width + gap
        widest = max(widest, x)
        y += height + gap
    end = y - gap
    parts.append(
        f'<path d="M26 2 V{end - 4} m-5 -8 l5 9 l5 -9"/>'
        f'<text class="few" text-anchor="middle" transform="translate(16 {end / 2:g}) rotate(-90)">'
        "imports point down</text>"
    )
    label = "Rooms in layers, top to bottom: " + "; ".join(
        ", ".join(name for name, _ in rooms) for rooms in rows
    )
    return (
        f'<svg class="layers" role="img" aria-label="{label}" viewBox="0 0 {widest:g} {end}" '
        f'width="{widest:g}">{"".join(parts)}</svg>'
    )


def rules() -> Table:
    """Return the rules for offsets, in their order."""
    example = OffsetFacts("", baseline=(5, 10), declared=-0.1)
    rows = []
    for number, rule in enumerate(RULES, start=1):
        told = {"_of_baseline": "-0.1 from 04.00 on, else 0", "_declared": "what it declares"}
        added = told.get(rule.offset.__name__) or f"{rule.offset(example):g}"
        rows.append([f"{number}", rule.name, added])
    return ["", "If", "Added"], rows


def providers() -> Table:
    """Return what each provider says of the offset, what is right, and the test that says so."""
    path = ROOT / "tests" / "offset_cases.py"
    cases = runpy.run_path(str(path))["CASES"]
    rows = [
        [
            case.provider,
            case.said,
            f"`{case.asset}`",
            f"**{case.expected:g}**" if case.expected is not None else f"refused: {case.why}",
            f"`{case.id}`",
        ]
        for case in cases
    ]
    return ["Provider", "Its item says", "Asset", "Added", "Test"], rows


OFFSET_TABLES: dict[str, Callable[[], Table]] = {"rules": rules, "providers": providers}
TABLES: dict[str, Callable[[], Table]] = {
    "bands": bands,
    "scl": scl,
    "status": status,
    "provenance": provenance,
}


def markdown(table: Table) -> str:
    """Return `table` as MyST."""
    head, rows = table
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows))


class SchemaTable(SphinxDirective):
    """A table of ``s2cube.schema``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(markdown(TABLES[self.arguments[0]]()))


class OffsetTable(SphinxDirective):
    """A table of offsets."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(markdown(OFFSET_TABLES[self.arguments[0]]()))


class Layers(SphinxDirective):
    """The rooms, drawn."""

    def run(self) -> list[nodes.Node]:
        return [nodes.raw("", drawn(layers()), format="html")]


class CommandHelp(SphinxDirective):
    """The help text of ``s2cube`` or of one of its commands."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        words = [*self.arguments, "--help"]
        told = io.StringIO()
        # As wide as a page, whatever the terminal that builds it, and without its colours.
        with (
            mock.patch.dict(os.environ, {"COLUMNS": "88", "NO_COLOR": "1"}),
            contextlib.redirect_stdout(told),
            contextlib.suppress(SystemExit),
        ):
            main(words)
        text = f"$ s2cube {' '.join(words)}\n{told.getvalue()}"
        return [nodes.literal_block(text, text, language="text")]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.add_directive("schema-table", SchemaTable)
    app.add_directive("command-help", CommandHelp)
    app.add_directive("offset-table", OffsetTable)
    app.add_directive("layers", Layers)
    # These pages change with the code, which Sphinx does not watch: read them every time.
    app.connect("env-get-outdated", lambda *_: PAGES)
    return {"version": "1", "parallel_read_safe": True}
