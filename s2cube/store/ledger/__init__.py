"""What is there for sure, and who is at work on the rest."""

from s2cube.store.ledger.claims import Claims
from s2cube.store.ledger.item import put_item
from s2cube.store.ledger.ledger import APPEND, COMING, GROUP, LEDGER, OBJECTS, WAITING, Ledger
from s2cube.store.ledger.marks import BlockStatus, Mark

__all__ = [
    "APPEND",
    "COMING",
    "GROUP",
    "LEDGER",
    "OBJECTS",
    "WAITING",
    "BlockStatus",
    "Claims",
    "Ledger",
    "Mark",
    "put_item",
]
