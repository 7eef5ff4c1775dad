"""Sphinx configuration. ``make docs`` builds; ``NOTEBOOKS`` says which notebooks are executed.

``cache`` executes those that changed since this folder's last build, ``recent`` those touched by
commits of the day before HEAD, ``all`` every one, ``none`` none.
"""

import os
import subprocess
import sys
from pathlib import Path

from sphinx.application import Sphinx
from sphinx_autosummary_accessors import templates_path as accessor_templates

import s2cube

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE / "_ext"))

from bring_notebooks import bring_notebooks  # noqa: E402

project = "s2cube"
author = "the s2cube authors"
copyright = author
version = release = s2cube.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_autosummary_accessors",
    "from_code",
]
exclude_patterns = ["_build", "jupyter_execute", "**/.ipynb_checkpoints"]

# Pages
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"s2cube {release}"
html_static_path = ["_static"]
html_css_files = ["s2cube.css"]
html_copy_source = False
pygments_style = "friendly"
pygments_dark_style = "monokai"

# Reference
templates_path = ["_templates", accessor_templates]
autosummary_generate = True
autodoc_typehints = "none"  # signatures stay readable; the docstrings say what goes in
napoleon_google_docstring = False
napoleon_use_rtype = False


# Notebooks
def touched_lately() -> set[str] | None:
    """Return the notebooks that commits of the day before HEAD touched; None where git cannot tell."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        if git("rev-parse", "--is-shallow-repository") != "false":
            return None
        since = int(git("log", "-1", "--format=%ct")) - 86_400
        log = git("log", f"--since={since}", "--format=", "--name-only", "--", "notebooks")
    except (OSError, ValueError, subprocess.CalledProcessError):
        return None
    return {Path(name).name for name in log.splitlines() if name}


notebooks = bring_notebooks(ROOT / "notebooks", HERE / "notebooks")
which = os.environ.get("NOTEBOOKS", "cache")
modes = {"cache": "cache", "recent": "force", "all": "force", "none": "off"}
if which not in modes:
    raise ValueError(f"NOTEBOOKS is one of {', '.join(modes)}, got {which!r}.")
nb_execution_mode = modes[which]
nb_execution_excludepatterns: list[str] = []
if which == "recent" and (lately := touched_lately()) is not None:
    nb_execution_excludepatterns = [f"notebooks/{name}" for name in notebooks if name not in lately]
nb_execution_cache_path = str(HERE / "_build" / ".jupyter_cache")
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_merge_streams = True


def setup(app: Sphinx) -> None:
    """Have notebooks read again where that is asked for, though their pages have not changed."""
    if which in ("all", "recent"):
        app.connect(
            "env-get-outdated", lambda *_: {f"notebooks/{Path(name).stem}" for name in notebooks}
        )
