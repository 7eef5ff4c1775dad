"""Run the Python examples of the README and the pages, each page in an empty folder.

    python docs/check_pages.py [PAGE ...]

The blocks of a page run in order and share their names. A folder ``demo-output/archive`` is there: the
one that ``make demo`` has left in the repository, or one like it. A block under a comment
``<!-- not run: why -->`` is compiled only.
"""

import contextlib
import io
import os
import re
import sys
import traceback
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from s2cube.demo import publish_archive

HERE = Path(__file__).resolve().parent
BLOCK = re.compile(r"(?P<not_run><!-- not run:[^\n]*-->\n)?^```python\n(?P<code>.*?)^```$", re.M | re.S)


def blocks(text: str) -> list[tuple[int, str, bool]]:
    """Return line, code and whether it runs, for each block of a page."""
    return [
        (text[: match.start("code")].count("\n"), match["code"], match["not_run"] is None)
        for match in BLOCK.finditer(text)
    ]


def check(page: Path, archive: Path) -> str | None:
    """Run the blocks of `page`; return what went wrong, or None."""
    names: dict[str, object] = {"__name__": page.stem}
    with TemporaryDirectory() as folder, contextlib.chdir(folder):
        Path("demo-output").mkdir()
        Path("demo-output/archive").symlink_to(archive)
        for line, code, runs in blocks(page.read_text()):
            try:
                # The line numbers of the page, so that a traceback points into it.
                program = compile("\n" * line + code, str(page), "exec")
                if runs:
                    with (
                        contextlib.redirect_stdout(io.StringIO()),
                        contextlib.redirect_stderr(io.StringIO()),
                    ):
                        exec(program, names)  # noqa: S102 - running the pages is what this is for
            except Exception:  # noqa: BLE001 - whatever it was, the report tells it
                return traceback.format_exc()
    return None


def main(arguments: list[str]) -> int:
    """Check the given pages, or all of them; return how many are wrong."""
    os.environ["MPLBACKEND"] = "Agg"
    pages = [Path(name).resolve() for name in arguments]
    pages = pages or [
        HERE.parent / "README.md",
        *sorted(HERE.glob("*.md")),
        *sorted(HERE.glob("*/*.md")),
    ]
    held = {page: count for page in pages if (count := len(blocks(page.read_text())))}
    wrong = 0
    # Pages know nothing of each other, and each uses one core for most of its time.
    with TemporaryDirectory() as folder, ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        archive = HERE.parent / "demo-output" / "archive"
        if not (archive / "catalog.json").exists():
            archive = publish_archive(Path(folder) / "archive").parent
        failures = pool.map(check, held, repeat(archive))
        for (page, count), failure in zip(held.items(), failures, strict=True):
            wrong += failure is not None
            print(f"{'FAILED' if failure else 'ok':<7}{os.path.relpath(page)}: {count} blocks")
            if failure:
                print(failure)
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
