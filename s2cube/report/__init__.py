"""``report``: what was seen, what was made of it and how far it can be trusted, as one page."""

from s2cube.report.verb import report

__all__ = ["report"]
