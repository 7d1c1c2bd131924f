"""The disk cache of compiled kernels: where it lies, when it is used, and that it never raises.

Child processes run copies of the kernels without the rest of the package: they start in a second.
"""

import compileall
import os
import shutil
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest
from kernel_probe import NAMES, VALUES, WITHOUT_PRIVILEGES, copy_of_kernels, probe, values_of
from numba import types
from numba.core import config

from fastem.kernels import _cache, special
from fastem.kernels._jit import jit


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """Place of a copy of the kernels, and a cache that a run of it has filled."""
    folder = tmp_path_factory.mktemp("filled")
    place = copy_of_kernels(folder / "place")
    before = sorted(folder.rglob("*"))
    assert probe(place, folder / "cache") == (VALUES, NAMES)
    # nothing beside the sources: a package that is uninstalled leaves no folder to be imported
    assert {path.relative_to(folder).parts[0] for path in {*folder.rglob("*")} - {*before}} == {
        "cache"
    }
    return place, folder / "cache"


@pytest.mark.parametrize("form", ["checkout", "installed", "read-only"])
def test_copies_at_other_places_share_the_cache(filled, tmp_path, form):
    place = copy_of_kernels(tmp_path / "place")
    if form == "installed":  # an installer also compiles the sources to bytecode
        assert compileall.compile_dir(place, quiet=1)
    if form == "read-only":
        for path in [*place.rglob("*"), place]:
            path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert probe(place, filled[1], first=WITHOUT_PRIVILEGES) == (VALUES, [])
    finally:
        for path in [place, *place.rglob("*")]:
            path.chmod(0o755)


def test_a_read_only_package_fills_the_cache(tmp_path):
    place = copy_of_kernels(tmp_path / "place")
    folders = [path for path in place.rglob("*") if path.is_dir()]
    before = sorted(place.rglob("*"))
    for folder in folders:
        folder.chmod(0o555)
    try:
        for misses in (NAMES, []):
            found = probe(place, tmp_path / "cache", first=WITHOUT_PRIVILEGES)
            assert found == (VALUES, misses)
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize("setting", ["NUMBA_OPT", "NUMBA_BOUNDSCHECK"])
def test_code_of_other_settings_is_not_reused(filled, setting):
    value = {"NUMBA_OPT": "0", "NUMBA_BOUNDSCHECK": "1"}[setting]
    assert probe(*filled, **{setting: value})[1] == NAMES


def test_a_changed_helper_in_a_zip(tmp_path):
    place = copy_of_kernels(tmp_path / "place")
    archive, cache = tmp_path / "fastem.zip", tmp_path / "cache"

    def pack():
        with zipfile.ZipFile(archive, "w") as file:
            for path in place.rglob("*.py"):
                file.write(path, path.relative_to(place))

    pack()
    assert probe(archive, cache) == (VALUES, NAMES)
    helpers = place / "fastem" / "kernels" / "random.py"
    source = helpers.read_text("utf-8")
    helpers.write_text(source.replace("return x ^ (x >> _31)", "return x"), "utf-8")
    pack()
    assert probe(archive, cache) == (values_of(lambda x: x), NAMES)


def test_no_cache_folder_can_be_written(tmp_path):
    place = copy_of_kernels(tmp_path / "a.zip folder")
    nowhere = place / "fastem" / "__init__.py" / "cache"
    user = dict.fromkeys(["HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"], str(nowhere))
    assert probe(place, nowhere) == (VALUES, NAMES)
    assert probe(place, "", **user) == (VALUES, NAMES)
    assert not list(tmp_path.rglob("*.nbc"))


DAMAGES = {
    "mix": lambda content: content[: len(content) // 2],
    "derive": lambda content: b"",
    "fill_keys_of_rows": lambda content: bytes(len(content)),
    # a byte of the machine code: it must not run
    "exp_clipped": lambda content: content[:5000] + bytes([content[5000] ^ 1]) + content[5001:],
}


def test_damaged_files_are_compiled_again_and_replaced(filled, tmp_path):
    place, cache = filled[0], tmp_path / "cache"
    shutil.copytree(filled[1], cache)
    for name, damage in DAMAGES.items():
        files = list(cache.rglob(f"*.{name}-*"))
        assert files
        for file in files:
            content = file.read_bytes()
            file.write_bytes(damage(content))
            assert file.read_bytes() != content
    assert probe(place, cache) == (VALUES, NAMES)
    assert probe(place, cache) == (VALUES, [])


def _file(*kinds):
    codegen = special.exp_clipped.targetctx.codegen()
    return _cache.DiskCache(special.exp_clipped.py_func, Path("."))._file(kinds, codegen)


def test_the_processor_and_every_setting_are_in_the_name(monkeypatch):
    names = {_file(types.float64)}
    for setting in _cache._SETTINGS:
        assert hasattr(config, setting)
        with monkeypatch.context() as patch:
            patch.setattr(config, setting, "another")
            names.add(_file(types.float64))
    codegen = type(special.exp_clipped.targetctx.codegen())
    monkeypatch.setattr(codegen, "magic_tuple", lambda self: ("another processor",))
    names.add(_file(types.float64))
    assert len(names) == len(_cache._SETTINGS) + 2


def test_the_order_of_fields_is_in_the_name():
    def nested(fields):
        group = types.NamedUniTuple(types.float64, 2, namedtuple("Rates", fields))
        return types.NamedTuple((types.int64, group), namedtuple("Task", "kind rates"))

    assert str(nested("a b")) == str(nested("b a"))
    assert _file(nested("a b")) != _file(nested("b a"))
    assert _file(nested("a b")) == _file(nested("a b"))


@jit
def _local(x):
    return x + 1


def test_kernels_outside_the_package_are_not_cached():
    assert _local(1) == 2
    assert _local.stats.cache_path is None


def test_only_the_folders_used_last_are_kept(tmp_path):
    for age in range(20):
        folder = tmp_path / f"{age:032x}"
        folder.mkdir()
        (folder / "kernel.nbc").touch()
        os.utime(folder, (1e9 - age, 1e9 - age))
    others = {"notes", "0" * 31, "g" * 32}
    for name in others:
        (tmp_path / name).mkdir()
    newest = tmp_path / ("f" * 32)
    newest.mkdir()
    _cache._prune(newest)
    kept = {f"{age:032x}" for age in range(_cache._KEPT_STAMPS - 1)}
    assert {path.name for path in tmp_path.iterdir()} == kept | others | {newest.name}
    _cache._prune(tmp_path / "gone" / newest.name)  # nothing to list
