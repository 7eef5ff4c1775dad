"""``WriteReport``: what a run of the writer did."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from s2cube.schema import Provenance

__all__ = ["WriteReport", "as_html", "listed"]


@dataclass(frozen=True)
class WriteReport:
    """What a run of :func:`write_daily` or :func:`append_daily` did."""

    store: str
    days: int
    written: int
    """Regions computed and written by this run."""
    kept: int
    """Regions that were there already, checked by size, or that another run wrote meanwhile."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Values (pixels × days) by provenance; looks at a pixel that could not be read
    (``failed_looks``); band values that were ``clamped`` on encoding; values that a revision
    ``changed`` (all variables)."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """Regions that could not be computed or written, and why; the store holds nothing there."""

    @property
    def observed(self) -> float:
        """Share of all values that were seen clear on their day."""
        return self._share("observed")

    @property
    def never_observed(self) -> float:
        """Share of all values without any clear look to lean on; they are missing in the store."""
        return self._share("never_observed")

    @property
    def filled(self) -> float:
        """Share of all values that were filled."""
        return 1 - self.observed - self.never_observed

    def _share(self, name: str) -> float:
        total = sum(self.counts.get(kind.name.lower(), 0) for kind in Provenance)
        return self.counts.get(name, 0) / total if total else float("nan")

    def _rows(self) -> list[tuple[str, str]]:
        failed = f", {len(self.failed)} failed" if self.failed else ""
        rows = [("regions", f"{self.written} written, {self.kept} kept from before{failed}")]
        if self.counts:
            shares = (
                f"{self.observed:.1%} observed, {self.filled:.1%} filled, "
                f"{self.never_observed:.1%} never observed"
            )
            rows.append(("values", shares))
        if self.counts.get("changed"):
            rows.append(("revised", f"{self.counts['changed']} values were replaced by others"))
        if looks := self.counts.get("failed_looks"):
            rows.append(("unread", f"{looks} looks at a pixel, filled like clouds: see failed_looks"))
        if self.counts.get("clamped"):
            told = f"{self.counts['clamped']} values beyond what int16 holds (±3.2767 reflectance)"
            rows.append(("clamped", told))
        if self.failed:
            name, error = next(iter(self.failed.items()))
            rows.append(("failed", f"{listed(self.failed)}; the same call tries them again"))
            rows.append(("", f"the first ({name}): {error}"))
        return rows

    def __str__(self) -> str:
        rows = [f"  {name:10} {text}" for name, text in self._rows()]
        return "\n".join([f"{self.store}: {self.days} days", *rows])

    def _repr_html_(self) -> str:
        return as_html(f"{self.store}: {self.days} days", self._rows())


def listed(names: Mapping[str, object] | Sequence[str], most: int = 5) -> str:
    """Return the first of some names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def as_html(title: str, rows: Sequence[tuple[str, str]]) -> str:
    """Return a report as a small table."""
    cells = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th>"
        f"<td style='text-align:left'>{escape(text)}</td></tr>"
        for name, text in rows
    )
    return f"<table><caption style='text-align:left'>{escape(title)}</caption>{cells}</table>"
