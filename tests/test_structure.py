"""The house: imports point down, heavy libraries load late."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import s2cube

ROOT = Path(s2cube.__file__).parent

# Top to bottom. Rooms in one row are strangers; each may import from the rows below it.
LAYERS = [
    {"__init__"},
    {"cli"},
    {"demo", "training"},
    {"_accessor"},
    {"report", "job"},
    {"evaluate", "store"},
    {"mosaic", "gapfill"},
    {"plan", "plot"},
    {"sources", "masks", "export", "testing"},
    {"composites", "emulate"},
    {"harmonize"},
    {"models"},
    {"blocks"},
    {"kernels"},
    {"schema", "weights"},
    {"errors"},
]
STORE = ["appending", "run", "ledger", "target"]
"""Folders of the store, top to bottom. The verbs beside them may import all of them."""
STORE_FILES = {"geozarr", "layout", "report"}
"""Files beside them that they may import."""
LEVEL = {room: -row for row, rooms in enumerate(LAYERS) for room in rooms}

# Who may import what is slow to load, and only inside a function.
OWNERS = {
    "torch": {"models"},
    "safetensors": {"models"},
    "rasterio": {"sources", "export", "testing"},
    "rioxarray": {"sources", "export", "testing"},
    "pystac": {"sources", "export", "testing", "demo"},
    "pystac_client": {"sources", "export", "testing", "demo"},
    "odc.stac": {"sources", "export", "testing", "demo"},
    "odc.loader": {"sources", "testing"},
    "odc.geo.xr": {"sources", "export", "testing", "mosaic"},
    "odc.geo.cog": {"export"},
    "lightgbm": {"masks"},
    "onnxruntime": {"masks"},
    "zarr": {"store"},
    "matplotlib": {"plot", "report", "demo"},
    "numba": {"kernels"},
    "distributed": {"store", "models"},
    "obstore": {"store"},
}
AT_THE_TOP = {
    ("kernels/loops.py", "numba"), ("models/gate.py", "torch"), ("models/unet.py", "torch"),
    ("store/target/bridge.py", "zarr"),
}  # fmt: skip
"""Files that are imported late themselves: decorators need their library at the top."""
LATE = [
    "torch", "rasterio", "matplotlib", "lightgbm", "zarr", "numba", "distributed", "pystac",
    "dask.array", "odc.stac",
]  # fmt: skip


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def room(path: Path) -> str:
    part = path.relative_to(ROOT).parts[0]
    return part.removesuffix(".py")


def imports(path: Path) -> list[tuple[str, bool, bool]]:
    """Return what a file imports: the name, whether at its top, whether only for types."""
    tree = ast.parse(path.read_text())
    for parent in ast.walk(tree):
        for child in ast.iter_child_nodes(parent):
            child.parent = parent  # type: ignore[attr-defined]
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        top, types, up = True, False, node
        while (up := getattr(up, "parent", None)) is not None:
            top &= not isinstance(up, ast.FunctionDef | ast.AsyncFunctionDef)
            types |= isinstance(up, ast.If) and ast.unparse(up.test) == "TYPE_CHECKING"
        found += [(name, top, types) for name in names]
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    here = room(path)
    assert here in LEVEL, f"{here} has no place in the layers: give it one here and in the docs"
    for name, _, _ in imports(path):
        parts = name.split(".")
        if parts[0] != "s2cube" or here == "__init__":
            continue
        there = parts[1]
        if there == here:
            continue
        assert there in LEVEL, f"{path.name} imports {name} from the package's top"
        assert LEVEL[there] < LEVEL[here], f"{here} must not import {there}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_folders_of_the_store_point_down(path: Path) -> None:
    parts = path.relative_to(ROOT).parts
    if parts[0] != "store" or len(parts) < 3:
        return
    allowed = {*STORE[STORE.index(parts[1]) :], *STORE_FILES}
    used = {name.split(".")[2] for name, *_ in imports(path) if name.startswith("s2cube.store.")}
    assert used <= allowed, f"{parts[1]} must not import {used - allowed}"


def test_no_cycle_inside_a_room() -> None:
    """Files of one room import each other without a cycle (by their top-level imports)."""
    graph: dict[str, set[str]] = {}
    names = {".".join(p.relative_to(ROOT.parent).with_suffix("").parts): p for p in modules()}
    for name, path in names.items():
        found = set()
        for imported, top, types in imports(path):
            if top and not types:
                found |= {n for n in (imported, imported.rpartition(".")[0]) if n in names}
        graph[name] = found
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail, name))
        if name not in done:
            for other in graph[name]:
                visit(other, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_imports_have_one_owner(path: Path) -> None:
    for name, top, types in imports(path):
        for heavy, owners in OWNERS.items():
            if name == heavy or name.startswith(f"{heavy}."):
                late = not top or (path.relative_to(ROOT).as_posix(), heavy) in AT_THE_TOP
                assert types or late, f"{name} is imported at the top of {path.name}"
                assert types or room(path) in owners, f"{room(path)} must not import {name}"


def test_import_is_light() -> None:
    """`import s2cube` loads nothing that is slow to load or that its user may not have."""
    code = (
        "import sys; before = set(sys.modules)\n"
        "import s2cube\n"
        f"late = {LATE!r}\n"
        "print([name for name in late if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_import_costs_little_beside_xarray() -> None:
    """What s2cube brings along beside xarray: counts of modules, which no slow machine changes."""
    code = (
        "import sys, numpy, pandas, xarray; before = set(sys.modules)\n"
        "import s2cube; added = set(sys.modules) - before\n"
        "print(len([name for name in added if name.split('.')[0] != 's2cube']), len(added))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    others, everything = map(int, out.stdout.split())
    assert others < 20
    assert everything < 250


def test_public_names_are_there() -> None:
    for name in s2cube.__all__:
        assert hasattr(s2cube, name)


def test_methods_are_the_functions() -> None:
    cube = s2cube.testing.simulate_cube(shape=(8, 8))
    for name, member in vars(s2cube.S2Accessor).items():
        if not name.startswith("_"):
            bound = getattr(cube.s2, name)
            assert bound.__func__ is getattr(s2cube, name), name
            assert bound.__doc__ == getattr(s2cube, name).__doc__
            assert getattr(s2cube.S2Accessor, name) is getattr(s2cube, name)
            assert member is not None


def test_files_fit_a_head() -> None:
    for path in modules():
        assert len(path.read_text().splitlines()) <= 450, f"{path.name}: split it"


def test_version_comes_from_one_place() -> None:
    from importlib.metadata import version

    assert version("s2cube-ard") == s2cube.__version__
    assert (ROOT / "py.typed").exists()
