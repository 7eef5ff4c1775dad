"""The notebooks live at the top of the repository; Sphinx reads only what lies below it."""

import json
import shutil
from pathlib import Path

__all__ = ["bring_notebooks"]


def bring_notebooks(source: Path, target: Path) -> list[str]:
    """Make `target` hold the notebooks of `source` and no others; return their names.

    A file that is the same is left alone, so that Sphinx does not read its page again.

    Raises
    ------
    ValueError
        A notebook carries outputs.
    """
    target.mkdir(exist_ok=True)
    names = sorted(path.name for path in source.glob("*.ipynb"))
    for path in target.glob("*.ipynb"):
        if path.name not in names:
            path.unlink()
    for name in names:
        cells = json.loads((source / name).read_text())["cells"]
        if any(cell.get("outputs") for cell in cells):
            raise ValueError(f"notebooks/{name} carries outputs: clear them, the build makes them anew.")
        copy = target / name
        if not copy.exists() or copy.read_bytes() != (source / name).read_bytes():
            shutil.copyfile(source / name, copy)
    return names
