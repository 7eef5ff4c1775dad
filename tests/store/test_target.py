"""What the ledger needs of a place: the same of a folder and of an object store."""

import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from s2cube.errors import StoreError
from s2cube.store.target import LocalTarget, Target, open_target


@pytest.fixture(params=["folder", "object store"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Target:
    if request.param == "folder":
        return open_target(tmp_path / "a store.zarr")
    return open_target(f"{request.getfixturevalue('s3')}/store.zarr")


def test_objects_come_and_go(target: Target) -> None:
    assert target.vacant
    assert target.get("a/b") is target.size("a/b") is target.modified("a/b") is None
    target.put("a/b", b"12")
    target.put("a/b", memoryview(b"345"))
    target.put("c", b"")
    assert target.get("a/b") == b"345"
    assert target.size("a/b") == 3
    assert target.sizes() == {"a/b": 3, "c": 0}
    assert target.sizes("a/") == {"a/b": 3}
    assert target.sizes_of(["c", "d"]) == {"c": 0, "d": None}
    assert target.get_all(["a/b", "d"]) == {"a/b": b"345"}
    assert not target.vacant
    target.delete(["c", "never"])
    target.settle(["a/b"])
    target.delete_tree()
    target.tidy()
    assert target.vacant
    assert target.sizes() == {}


def test_the_clock_is_the_keepers(target: Target) -> None:
    target.put("a", b"1")
    target.put("b", b"1")
    first, second = target.modified("a"), target.modified("b")
    assert first is not None
    assert second is not None
    assert 0 <= second - first < 60


def test_of_several_that_create_one_succeeds(target: Target) -> None:
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: target.create("claim", b"%d" % n), range(8)))
    assert sum(won) == 1
    assert target.get("claim") == b"%d" % won.index(True)


def test_of_several_that_swap_one_succeeds(target: Target) -> None:
    target.put("claim", b"dead")
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: target.swap("claim", b"dead", b"%d" % n), range(8)))
    assert sum(won) == 1
    assert target.get("claim") == b"%d" % won.index(True)
    assert not target.swap("claim", b"other", b"mine")
    assert not target.swap("none", b"", b"mine")
    assert target.get("claim") == b"%d" % won.index(True)
    assert set(target.sizes()) == {"claim"}, "nothing is left lying about"


def test_a_tree_is_carried_elsewhere(target: Target) -> None:
    for key in ("a/b", "c"):
        target.put(key, key.encode())
    other = target.beside(".s2cube/replaced")
    left = target.carry_to(other)
    assert other.sizes() == {"a/b": 3, "c": 1}
    assert target.vacant == left


def test_a_neighbour_with_a_longer_name_is_another(target: Target) -> None:
    target.beside(".s2cube").put("marks/a", b"1")
    assert target.vacant
    assert target.sizes() == {}
    home, name = target.alone()
    home.put(f"{name}.item.json", b"{}")
    assert target.vacant


@pytest.mark.parametrize(
    "key", ["../x", "a/../../x", "/etc/passwd", "a//b", "", ".", "a/.", "a\\..\\b", "C:x", "a\0"]
)
def test_keys_that_lead_out_are_refused(target: Target, key: str) -> None:
    for action in (
        lambda: target.put(key, b"1"),
        lambda: target.create(key, b"1"),
        lambda: target.swap(key, b"0", b"1"),
        lambda: target.get(key),
        lambda: target.size(key),
        lambda: target.delete([key]),
    ):
        with pytest.raises(StoreError, match="leads out of"):
            action()


def test_travels_to_workers(target: Target) -> None:
    target.put("a", b"1")
    assert pickle.loads(pickle.dumps(target)).get("a") == b"1"


def test_a_lock_tells_whether_its_owner_lives(tmp_path: Path) -> None:
    target = LocalTarget(tmp_path / "work")
    assert target.held("lock") is None
    with target.hold("lock"):
        assert target.held("lock") is True
    assert target.held("lock") is None
    (tmp_path / "work" / "lock").touch()  # as a process that was killed leaves it
    assert target.held("lock") is False


def test_without_links_claims_work_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError("no links on this file system")

    monkeypatch.setattr(os, "link", no_links)
    target = LocalTarget(tmp_path)
    assert target.create("claim", b"mine")
    assert not target.create("claim", b"yours")
    assert target.get("claim") == b"mine"
    assert set(target.sizes()) == {"claim"}


def test_a_folder_that_vanishes_at_the_wrong_moment_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run tidies up while this one puts its sign of life."""
    target = LocalTarget(tmp_path / "work")
    real, done = os.replace, []

    def cleared(source: Path, goal: Path) -> None:
        if not done:
            done.append(1)
            target.delete_tree()
        real(source, goal)

    monkeypatch.setattr(os, "replace", cleared)
    target.put("runs/me.json", b"alive")
    assert target.get("runs/me.json") == b"alive"
