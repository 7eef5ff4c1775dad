"""Regions computed, written and marked: one after another on threads, or one a worker on a cluster."""

from s2cube.store.run.progress import Progress
from s2cube.store.run.region import Job, Make
from s2cube.store.run.work import as_store_errors, failure_of, work_through
from s2cube.store.run.workers import Cut, Source

__all__ = ["Cut", "Job", "Make", "Progress", "Source", "as_store_errors", "failure_of", "work_through"]
