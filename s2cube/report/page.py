"""A page that needs nothing but itself: text, tables and drawings in one HTML file."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Drawing", "Section", "Table", "as_page", "drawn"]

# Drawings are made in the colours of :mod:`s2cube.plot` on white; each becomes a name, which the style
# sheet below gives a value by day and by night.
COLOURS: Final = {
    "#000000": "ink", "#262626": "ink", "#b0b0b0": "rule", "#cccccc": "rule", "#e4e4ea": "faint",
    "#ffffff": "paper", "#1b6e53": "green", "#9db7ad": "pale", "#b4552d": "rust", "#1c2b4a": "navy",
}  # fmt: skip
STYLE: Final = """
:root { --ink: #1d2430; --soft: #5b6472; --paper: #ffffff; --card: #f5f6f4; --rule: #b4bac2;
  --faint: #e4e4ea; --green: #1b6e53; --pale: #9db7ad; --rust: #b4552d; --navy: #1c2b4a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ea; --soft: #a3acb8; --paper: #14181d;
  --card: #1e242b; --rule: #59636f; --faint: #2a323b; --green: #62c4a0; --pale: #3f6d5c;
  --rust: #ec9468; --navy: #a9c1ea; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem 1rem 4rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.15rem; margin: 2.6rem 0 .4rem; padding-top: .9rem;
  border-top: 1px solid var(--faint); }
p { max-width: 46rem; margin: .4rem 0; color: var(--soft); }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: .6rem;
  margin: 1.2rem 0; }
dl div { background: var(--card); border-radius: .4rem; padding: .6rem .8rem; }
dt { color: var(--soft); font-size: .82rem; }
dd { margin: 0; font-size: 1.05rem; font-weight: 600; overflow-wrap: anywhere; }
figure { margin: 1rem 0 0; }
figcaption { color: var(--soft); font-size: .88rem; max-width: 46rem; margin-top: .3rem; }
.wide { overflow-x: auto; }
.wide svg { display: block; width: 100%; height: auto; }
.wide svg text { fill: var(--ink); }
.wide table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid var(--faint);
  vertical-align: top; }
td.number { text-align: right; }
td.word { white-space: nowrap; }
summary { cursor: pointer; color: var(--soft); font-size: .9rem; }
th { color: var(--soft); font-weight: 500; }
pre { background: var(--card); border-radius: .4rem; padding: .8rem; overflow-x: auto;
  font-size: .82rem; white-space: pre-wrap; overflow-wrap: anywhere; }
"""
LONG: Final = 15
"""Rows from which on a table is folded."""
WORD: Final = 24
"""Letters that are not broken into lines."""
_COLOUR: Final = re.compile(r"#[0-9a-f]{6}\b")
_HEAD: Final = re.compile(r"^.*?(?=<svg)", re.S)
_METADATA: Final = re.compile(r"<metadata>.*?</metadata>", re.S)
_SIZE: Final = re.compile(r'<svg [^>]*?width="[\d.]+pt" height="[\d.]+pt" ')


@dataclass(frozen=True)
class Drawing:
    """A drawing and what it shows."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Table:
    """Rows of words and numbers."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """What is told under one heading."""

    title: str
    text: str = ""
    parts: Sequence[Drawing | Table] = field(default=())
    code: str = ""


def drawn(figure: "Figure", caption: str) -> Drawing:
    """Return a figure as a drawing whose colours follow the reader's, light or dark."""
    import matplotlib as mpl

    text = StringIO()
    # Words stay words: they can be searched, and read aloud.
    # The salt keeps the names of clipping paths apart: all drawings share one page.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": caption}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = _METADATA.sub("", _HEAD.sub("", text.getvalue()))
    # As wide as the page, but neither blown up nor, on a telephone, too small to read.
    points = 72 * figure.get_figwidth()
    style = f"min-width: {0.6 * points:.0f}px; max-width: {1.6 * points:.0f}px"
    label = f'role="img" aria-label="{escape(caption, quote=True)}" style="{style}"'
    svg = _SIZE.sub(f"<svg {label} ", svg, count=1)
    return Drawing(_COLOUR.sub(_named, svg), caption)


def _named(colour: re.Match[str]) -> str:
    name = COLOURS.get(colour[0])
    return colour[0] if name is None else f"var(--{name})"


def as_page(
    title: str, subtitle: str, facts: Sequence[tuple[str, str]], sections: Sequence[Section]
) -> str:
    """Return the whole page.

    Parameters
    ----------
    title, subtitle
        Of the page.
    facts
        The numbers that matter most, by name.
    sections
        The rest, in order.
    """
    cards = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(told)}</dd></div>" for name, told in facts)
    body = "\n".join(_section(section) for section in sections)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n<p>{escape(subtitle)}</p>\n<dl>{cards}</dl>\n{body}\n"
        "</body>\n</html>\n"
    )


def _section(section: Section) -> str:
    parts = [f"<section>\n<h2>{escape(section.title)}</h2>"]
    if section.text:
        parts.append(f"<p>{escape(section.text)}</p>")
    for part in section.parts:
        shown = part.svg if isinstance(part, Drawing) else _table(part)
        parts.append(
            f'<figure><div class="wide">{shown}</div>'
            f"<figcaption>{escape(part.caption)}</figcaption></figure>"
        )
    if section.code:
        parts.append(f"<pre>{escape(section.code)}</pre>")
    return "\n".join([*parts, "</section>"])


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in table.head)
    rows = "".join(
        "<tr>" + "".join(f"<td{_kind(cell)}>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in table.rows
    )
    whole = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    if len(table.rows) <= LONG:
        return whole
    return f"<details><summary>{len(table.rows)} rows</summary>{whole}</details>"


def _kind(cell: str) -> str:
    if re.fullmatch(r"[-+]?[\d.,]+ ?%?", cell):
        return ' class="number"'
    return ' class="word"' if len(cell) <= WORD else ""
