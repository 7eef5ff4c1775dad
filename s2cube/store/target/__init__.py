"""Where the bytes of a store lie: a tree of objects, in a folder or at ``s3://``."""

from s2cube.store.target.base import ROOT, Facts, Target, facts_of, is_safe
from s2cube.store.target.folder import LocalTarget
from s2cube.store.target.named import open_target

__all__ = ["ROOT", "Facts", "LocalTarget", "Target", "facts_of", "is_safe", "open_target"]
