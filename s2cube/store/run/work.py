"""Regions of a store done by this run or by others: what writing and appending share."""

import contextlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from s2cube.errors import StoreError
from s2cube.store.ledger import Claims, Ledger, Mark
from s2cube.store.run.progress import Progress
from s2cube.store.run.region import Job, version
from s2cube.store.run.workers import Source, run

__all__ = ["Done", "as_store_errors", "failure_of", "work_through"]


@contextlib.contextmanager
def as_store_errors(ledger: Ledger) -> Iterator[None]:
    """Let what the file system says about metadata come out as what is documented."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(
            f"{ledger.store.name} could not be written: {error}. What is there stays; the same call "
            "goes on."
        ) from error


@dataclass(frozen=True)
class Done:
    """What became of some regions."""

    written: Mapping[str, Mark]
    """Marks of this run's, by region, failed ones included."""
    by_others: Mapping[str, Mark]
    errors: Mapping[str, BaseException]
    """Why this run's failed."""

    @property
    def marks(self) -> dict[str, Mark]:
        """Of all of them."""
        return {**self.by_others, **self.written}


def work_through(
    source: Source,
    jobs: Mapping[str, Job],
    claims: Claims,
    *,
    shown: Progress,
    retries: int = 0,
    resources: Mapping[str, float] | None = None,
) -> Done:
    """Do every region that no other run does, and wait for those; take over from runs that die.

    Parameters
    ----------
    source
        Where the pieces come from.
    jobs
        What is to be done, by region.
    claims
        Of this run.
    shown
        Is told of each that is done.
    retries
        How often a region is tried again that failed by what may pass, when all others are done.
    resources
        What a worker must have.
    """
    left = dict(jobs)
    written: dict[str, Mark] = {}
    by_others: dict[str, Mark] = {}
    errors: dict[str, BaseException] = {}
    tried: Counter[str] = Counter()

    def theirs(marks: Mapping[str, Mark]) -> None:
        """See what others have done meanwhile."""
        for name, mark in marks.items():
            # A failure of our own that is tried again is none of theirs.
            if jobs[name].made(mark) and (mark.there or not tried[name]):
                by_others[name] = mark
                shown.done(mark)
                del left[name]

    def claimed() -> Iterator[Job]:
        for name, job in list(left.items()):
            if name not in left or not claims.take(name):
                continue
            # Only now is it certain that nobody marks it behind our back.
            theirs(jobs[name].ledger.marks_of([name]))
            if name in left:
                yield job
            else:
                claims.drop(name)

    while left:
        idle = True
        for region, outcome in run(source, claimed(), bar=shown.single, resources=resources):
            name, idle = region.id, False
            if isinstance(outcome, Mark):
                written[name] = outcome
                errors.pop(name, None)
                del left[name]
            else:
                errors[name] = outcome
                written[name] = _failed(jobs[name], outcome)
                tried[name] += 1
                if tried[name] > retries or not isinstance(outcome, OSError):
                    del left[name]
            if name not in left:
                shown.done(written[name])
            claims.drop(name)
        if left:
            theirs(next(iter(left.values())).ledger.marks_of(left))
        if left and idle:
            claims.wait(f"{len(left)} regions")
    return Done(written, by_others, errors)


def failure_of(told: str, failed: Mapping[str, Mark], errors: Mapping[str, BaseException]) -> StoreError:
    """Return the error of a run whose regions `failed`: what is `told`, and the first of them."""
    name = next(iter(errors or failed))
    failure = StoreError(f"{told} First failure ({name}): {failed[name].error}")
    failure.__cause__ = errors.get(name)
    return failure


def _failed(job: Job, error: BaseException) -> Mark:
    """Note that a region failed, where that can be noted: on a full disk it cannot."""
    # What comes after a link's "?" may be a signature.
    told = re.sub(r"(https?://[^\s?]+)\?[^\s'\"]+", r"\1?...", f"{type(error).__name__}: {error}")[:1000]
    mark = Mark.of_failure(job.region.id, job.token, told, version())
    with contextlib.suppress(OSError):
        job.ledger.mark(mark)
    return mark
