"""A release: its version, its archives, and the files that describe the project."""

import ast
import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import fastem

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
_NOT_RELEASED = {".gitignore", ".gitattributes", "MANIFEST.in"}
_IGNORED = shutil.ignore_patterns(
    ".*_cache", ".benchmarks", ".git", ".hypothesis", ".venv", "__pycache__", "*.egg-info",
    "_build", "_generated", "build", "dist", "gallery", "generated",
)  # fmt: skip
_BUILD = """
import sys
import setuptools.build_meta as backend
target = sys.argv[1]
print(backend.build_sdist(target))
"""
_BUILD_WHEEL = _BUILD.replace("build_sdist", "build_wheel")


def _yaml(path):
    return pytest.importorskip("yaml").safe_load((ROOT / path).read_text("utf-8"))


def _copy_sources(target):
    """Copy the tree as a clean clone would have it: builds write into their tree."""
    git = ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    is_checkout = (ROOT / ".git").exists() and shutil.which("git")
    if not is_checkout:  # an unpacked sdist
        shutil.copytree(ROOT, target, ignore=_IGNORED)
        return
    for name in filter(None, subprocess.check_output(git).decode().split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)


def _build(program, folder, target):
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}  # setuptools warns if it is set
    done = subprocess.run(
        [sys.executable, "-c", program, str(target)],
        cwd=folder, capture_output=True, text=True, timeout=300, env=environment,
    )  # fmt: skip
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert not re.search(r"(?mi)^warning:|\w+Warning\b", output), output
    return target / done.stdout.split()[-1]


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """Return the sdist, and the wheel that is built from the unpacked sdist."""
    pytest.importorskip("setuptools", minversion="77", reason="the build needs setuptools 77")
    folder = tmp_path_factory.mktemp("release")
    _copy_sources(folder / "sources")
    sdist = _build(_BUILD, folder / "sources", folder)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return sdist, _build(_BUILD_WHEEL, folder / sdist.name.removesuffix(".tar.gz"), folder)


@pytest.fixture(scope="module")
def sdist_names(archives):
    with tarfile.open(archives[0]) as archive:
        names = [member.name.partition("/")[2] for member in archive if member.isfile()]
    return set(names)


@pytest.fixture(scope="module")
def wheel_names(archives):
    return set(zipfile.ZipFile(archives[1]).namelist())


@pytest.fixture(scope="module")
def metadata(archives):
    wheel = zipfile.ZipFile(archives[1])
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(wheel.read(name))


def test_one_place_holds_the_version():
    tree = ast.parse((ROOT / "fastem" / "_version.py").read_text("utf-8"))
    assert ast.literal_eval(tree.body[-1].value) == fastem.__version__
    assert "version" in PROJECT["dynamic"]
    assert "version" not in PROJECT
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", fastem.__version__)
    assert f"\n## {fastem.__version__} - " in (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert _yaml("CITATION.cff")["version"] == fastem.__version__


def test_the_archives_have_the_version(archives, metadata):
    sdist, wheel = archives
    assert sdist.name == f"fastem-{fastem.__version__}.tar.gz"
    assert wheel.name == f"fastem-{fastem.__version__}-py3-none-any.whl"
    assert metadata["Version"] == fastem.__version__


def test_the_sdist_holds_all_sources(sdist_names, archives):
    sources = archives[0].parent / "sources"
    files = {path.relative_to(sources).as_posix() for path in sources.rglob("*") if path.is_file()}
    files = {name for name in files if not re.match(r"(fastem\.egg-info|build)/", name)}
    assert files - sdist_names <= _NOT_RELEASED
    generated = {"MANIFEST.in", "PKG-INFO", "setup.cfg"}
    extra = {name for name in sdist_names - files if not name.startswith("fastem.egg-info/")}
    assert extra <= generated
    wanted = {"README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE", "SECURITY.md", "conftest.py"}
    wanted |= {"docs/conf.py", "tests/test_em.py", "tests/reference.py", "benches/bench_fit.py"}
    assert wanted <= sdist_names
    assert not [name for name in sdist_names if name.endswith(".pyc") or "/_build/" in name]


def test_the_wheel_holds_the_package_and_nothing_else(wheel_names):
    package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "fastem").rglob("*")
        if path.suffix in (".py", ".typed")
    }
    assert "fastem/py.typed" in package
    info = f"fastem-{fastem.__version__}.dist-info/"
    assert {name for name in wheel_names if not name.startswith(info)} == package
    assert f"{info}licenses/LICENSE" in wheel_names
    assert f"{info}entry_points.txt" in wheel_names


def test_the_page_of_an_index_needs_no_other_file(metadata):
    assert metadata["Description-Content-Type"] == "text/markdown"
    text = metadata.get_payload(decode=True).decode("utf-8")
    assert text.startswith("# fastem\n")
    assert "pip install" in text
    targets = re.findall(r"\]\(([^)\s]+)", text) + re.findall(r"(?:src|href)=\"([^\"]+)", text)
    targets += re.findall(r"(?m)^\[[^\]]+\]:\s*(\S+)", text)
    assert [x for x in targets if not re.match(r"https?://|#", x)] == []


def test_the_licence_of_all_files_that_name_it():
    assert PROJECT["license"] == _yaml("CITATION.cff")["license"] == "BSD-3-Clause"
    assert (ROOT / "LICENSE").read_text("utf-8").startswith("BSD 3-Clause License")


def test_the_citation_has_the_article_of_the_readme():
    citation = _yaml("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    (article,) = citation["references"]
    assert [author["family-names"] for author in article["authors"]] == ["Ng", "McLachlan"]
    readme = " ".join((ROOT / "README.md").read_text("utf-8").split())
    for text in (
        article["title"], article["journal"], f"({article['year']})",
        f"{article['volume']}({article['issue']})", f"{article['start']}-{article['end']}",
    ):  # fmt: skip
        assert text in readme


def _minor_versions():
    pattern = r"Programming Language :: Python :: (3\.\d+)"
    return [m[1] for text in PROJECT["classifiers"] if (m := re.fullmatch(pattern, text))]


def test_the_versions_of_python_agree():
    versions = _minor_versions()
    numbers = [int(version.partition(".")[2]) for version in versions]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    assert PROJECT["requires-python"] == f">={versions[0]}"
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]
    assert tools["ruff"]["target-version"] == "py" + versions[0].replace(".", "")
    assert tools["mypy"]["python_version"] == versions[0]
    matrix = _yaml(".github/workflows/test.yml")["jobs"]["test"]["strategy"]["matrix"]
    assert matrix["python"] == versions
    assert {name.partition("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}


def test_the_workflow_is_the_script():
    workflow = _yaml(".github/workflows/test.yml")
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["cancel-in-progress"] is True
    assert set(workflow[True]) == {"push", "pull_request"}  # YAML reads the key "on" as true
    steps = workflow["jobs"]["test"]["steps"]
    commands = {step["if"]: step["run"] for step in steps if "run" in step}
    assert commands["runner.os == 'Linux'"] == ".ci/run"
    assert commands["runner.os != 'Linux'"].split("\n")[:3] == [
        "pip install '.[test]'", "python -m fastem", "pytest",
    ]  # fmt: skip
    assert all(step["uses"].startswith("actions/") for step in steps if "uses" in step)


def test_the_issue_forms_have_what_the_host_requires():
    folder = ROOT / ".github" / "ISSUE_TEMPLATE"
    forms = [path for path in folder.glob("*.yml") if path.name != "config.yml"]
    assert len(forms) == 2
    for path in forms:
        form = _yaml(path.relative_to(ROOT))
        assert {"name", "description", "body"} <= set(form)
        ids = [field["id"] for field in form["body"] if field["type"] != "markdown"]
        assert len(set(ids)) == len(ids) > 0
        for field in form["body"]:
            assert field["type"] in ("markdown", "textarea")
            assert field["attributes"]["value" if field["type"] == "markdown" else "label"]
