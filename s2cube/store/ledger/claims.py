"""Claims: which run does which region, when several write one store.

A claim is an object that its owner puts where there is none. It holds as long as the owner lives: each
run puts a sign of life now and then, and one whose last sign is older than :data:`EXPIRY`, by the clock
of whoever keeps the store, is dead. On one machine a lock tells at once. Claims only save work: what is
there is said by marks, and a region that two runs do is written twice with the same bytes.
"""

import contextlib
import json
import os
import platform
import secrets
import sys
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final

from s2cube.errors import StoreError
from s2cube.store.target import Target

__all__ = ["EXPIRY", "POLL", "Claims"]

EXPIRY: float = 120.0
"""Seconds without a sign of life after which a run is dead."""
RENEWALS: Final = 6
"""Signs of life in that time: some may be lost."""
POLL: float = 1.0
"""Seconds between two looks at what others do."""
WHOLE: Final = "store"
"""The claim on what is no region: the store's metadata, its root."""


class Claims:
    """The claims of one run. To be entered: it shows that it lives until the end of the block.

    Parameters
    ----------
    work
        The work folder of the store.
    progress
        Whether to say whom it waits for.
    """

    def __init__(self, work: Target, *, progress: bool = False) -> None:
        self.owner = secrets.token_hex(6)
        self._work = work
        self._progress = progress
        self._told: set[str] = set()
        self._held: set[str] = set()
        self._ends = threading.Event()
        self._stack = contextlib.ExitStack()
        self._renewed = 0.0
        self._verdicts: dict[str, tuple[float, bool]] = {}

    def __enter__(self) -> "Claims":
        with contextlib.ExitStack() as stack:
            stack.callback(self._leave)
            # First the sign, then claims: who claims without a sign of life is dead.
            self._renew()
            stack.enter_context(self._work.hold(_lock(self.owner)))
            thread = threading.Thread(target=self._keep_renewing, name="s2cube-claims", daemon=True)
            thread.start()
            # Not for ever: it may be waiting for a network that is gone.
            stack.callback(thread.join, timeout=2 * POLL)
            stack.callback(self._ends.set)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _leave(self) -> None:
        with contextlib.suppress(OSError):  # whoever comes next sees that nobody lives here
            self._work.delete([*map(_claim, self._held), _sign(self.owner)])
            self._work.tidy()

    def _renew(self) -> None:
        facts = {"owner": self.owner, "host": platform.node(), "process": os.getpid()}
        facts["renewed"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._work.put(_sign(self.owner), json.dumps(facts).encode())
        self._renewed = time.monotonic()

    def _keep_renewing(self) -> None:
        while not self._ends.wait(EXPIRY / RENEWALS):
            with contextlib.suppress(OSError):  # the next one may get through
                self._renew()

    def take(self, name: str) -> bool:
        """Claim a region; return whether it is ours. It is not while another run that lives has it."""
        key, content = _claim(name), json.dumps({"owner": self.owner}).encode()
        if not self._work.create(key, content):
            seen = self._work.get(key)
            if seen is None:  # let go of this moment
                return self._work.create(key, content) and self._keeps(name)
            owner = _parsed(seen).get("owner")
            # Ours already where the answer to the first try was lost.
            if owner != self.owner and (self._lives(owner) or not self._work.swap(key, seen, content)):
                return False
        return self._keeps(name)

    def _keeps(self, name: str) -> bool:
        self._held.add(name)
        return True

    def drop(self, name: str) -> None:
        """Let go of a region."""
        if name in self._held:
            with contextlib.suppress(OSError):  # else when this run ends
                self._work.delete([_claim(name)])
                self._held.discard(name)

    def _lives(self, owner: Any) -> bool:
        """Return whether a run has shown a sign of life lately."""
        if not isinstance(owner, str) or not owner.isalnum():
            return False
        known, verdict = self._verdicts.get(owner, (-EXPIRY, False))
        if time.monotonic() - known > POLL:
            known, verdict = time.monotonic(), self._shows_life(owner)
            self._verdicts[owner] = known, verdict
        return verdict

    def _shows_life(self, owner: str) -> bool:
        if self._work.held(_lock(owner)) is False:
            return False
        theirs, ours = self._work.modified(_sign(owner)), self._work.modified(_sign(self.owner))
        if theirs is None:
            return False
        if ours is None:  # another run has finished the store, and cleared all this away
            self._renew()
            return True
        # Both by the clock of whoever keeps the files, so that it does not matter what ours says.
        return ours + (time.monotonic() - self._renewed) - theirs < EXPIRY

    def others(self) -> list[str]:
        """Return who else is writing this store, in words."""
        found = []
        for content in self._signs().values():
            facts = _parsed(content)
            if facts.get("owner") != self.owner and self._lives(facts.get("owner")):
                found.append(
                    f"process {facts.get('process')} on {facts.get('host')}, seen {facts.get('renewed')}"
                )
        return found

    def _signs(self) -> dict[str, bytes]:
        return self._work.get_all(key for key in self._work.sizes("runs/") if key.endswith(".json"))

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """Keep other runs from beginning, replacing, mending or publishing the store meanwhile."""
        while not self.take(WHOLE):
            self.wait("the store's metadata")
        try:
            yield
        finally:
            self.drop(WHOLE)

    def wait(self, what: str) -> None:
        """Wait a moment for what another run has claimed, and say so once."""
        if self._progress and what not in self._told:
            self._told.add(what)
            others = "; ".join(self.others()) or "a run that has just ended"
            print(f"waiting for {what}, claimed by {others}", file=sys.stderr)
        time.sleep(POLL)

    def clear_dead(self) -> None:
        """Remove what runs have left that are dead."""
        runs = {name.split("/")[1].split(".")[0] for name in self._work.sizes("runs/")}
        dead = {owner for owner in runs if owner != self.owner and not self._lives(owner)}
        claims = self._work.get_all(self._work.sizes("claims/"))
        left = [key for key, content in claims.items() if _parsed(content).get("owner") in dead]
        self._work.delete([*left, *(key(owner) for owner in dead for key in (_sign, _lock))])

    def refuse_others(self, wish: str) -> None:
        """Raise where another run is writing the store.

        Raises
        ------
        StoreError
            It says who.
        """
        if others := self.others():
            raise StoreError(
                f"Another run is writing this store ({'; '.join(others)}): {wish} would take away what "
                "it does. Wait for it, stop it, or choose another path."
            )


def _parsed(content: bytes) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        facts = json.loads(content)
        if isinstance(facts, dict):
            return facts
    return {}


def _claim(name: str) -> str:
    return f"claims/{name}.json"


def _sign(owner: str) -> str:
    return f"runs/{owner}.json"


def _lock(owner: str) -> str:
    return f"runs/{owner}.lock"
