"""The house rules of fastem/, read off its syntax trees."""

import ast
import graphlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fastem
import fastem.dask

ROOT = Path(fastem.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
TREES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text("utf-8")) for path in FILES}

# Rooms, from the lowest to the highest, with the rooms that each one may import from.
BASE = {"kernels", "families", "parameters", "expectations", "rows", "runtime"}
MAY_IMPORT = {
    "_version": set(),
    "kernels": set(),
    "runtime": set(),
    "families": {"runtime"},
    "parameters": {"families"},
    "sparse": {"kernels", "parameters", "runtime"},
    "expectations": {"parameters", "sparse"},
    "rows": {"kernels", "parameters", "runtime", "sparse"},
    "tables": {"parameters"},
    "engines": BASE | {"sparse"},
    "oracle": BASE | {"engines", "tables"},
    "torch": {"engines", "families", "oracle", "runtime"},
    "jax": {"engines", "families", "oracle"},
    "m_step": BASE - {"families"} | {"sparse", "tables"},
    "perceptron": {"kernels", "parameters", "runtime"},
    "solvers": BASE - {"families"} | {"engines", "m_step", "sparse"},
    "selection": {"parameters", "sparse"},
    "estimators": {"_version", "expectations", "families", "parameters", "rows", "runtime"}
    | {"engines", "m_step", "oracle", "perceptron", "selection", "solvers", "sparse"},
    "inference": {"estimators", "families", "oracle", "parameters", "runtime", "sparse"}
    | {"tables"},
    "profiling": {
        "families",
        "oracle",
        "parameters",
        "rows",
        "runtime",
        "engines",
        "m_step",
        "perceptron",
        "solvers",
        "sparse",
    },
    "preparation": {"estimators"},
    "onnx": {
        "engines",
        "estimators",
        "families",
        "oracle",
        "parameters",
        "perceptron",
        "runtime",
        "tables",
    },  # fmt: skip,
    "dask": {"_version", "engines", "estimators", "families", "runtime"},
    "plotting": {"parameters", "engines", "estimators", "profiling", "runtime"},
    "cli": {"_version", "parameters", "runtime"}
    | {"dask", "estimators", "oracle", "perceptron", "plotting", "preparation", "profiling"},
    "__main__": {"cli"},
}

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60


def _under_type_checking(node):
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _imports(node, place="module"):
    """Yield (dotted name, place) of every import: at "module" level, in a "function", "typing"."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, place) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute"
            yield from ((f"{child.module}.{alias.name}", place) for alias in child.names)
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _imports(child, "function")
        else:
            yield from _imports(child, "typing" if _under_type_checking(child) else place)


IMPORTS = {file: list(_imports(tree)) for file, tree in TREES.items()}


def _users(*packages):
    """Return {file: places} of the files that import one of the packages."""
    users = {}
    for file, imports in IMPORTS.items():
        places = {place for name, place in imports if name.split(".")[0] in packages}
        if places:
            users[file] = places
    return users


def _outside(users, *allowed):
    return [file for file in users if not file.startswith(allowed)]


def test_there_is_something_to_read():
    assert {"kernels/_jit.py", "engines/enumeration.py", "runtime/threads.py"} < set(TREES)


def test_numba_stays_in_the_kernels():
    users = _users("numba", "llvmlite")
    assert "kernels/_jit.py" in users
    assert _outside(users, "kernels/") == []


def test_scikit_learn_stays_with_the_estimators():
    users = _users("sklearn")
    assert any(file.startswith("estimators/") for file in users)
    allowed = ("estimators/", "inference/", "preparation/", "dask/", "cli/", "plotting/", "onnx/")
    assert _outside(users, *allowed) == []


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("matplotlib", ["plotting/"]),
        ("pandas", ["cli/", "preparation/", "dask/"]),
        ("torch", ["torch.py"]),
        ("jax", ["jax.py"]),
        ("onnx", ["onnx/"]),
        ("skl2onnx", ["onnx/"]),
    ],
)
def test_optional_packages_are_imported_where_they_are_used(package, allowed):
    users = _users(package)
    assert _outside(users, *allowed) == []
    assert [file for file, places in users.items() if "module" in places] == []


def test_dask_is_imported_by_its_room_only():
    users = _users("dask", "distributed")
    assert any(file.startswith("dask/") for file in users)
    assert [file for file, places in users.items() if "module" in places] == [
        file for file in users if file.startswith("dask/")
    ]
    assert not any(name.startswith("fastem.dask") for name, _ in IMPORTS["__init__.py"])


def test_only_the_command_line_formats_text():
    importers = {
        file
        for file, imports in IMPORTS.items()
        for name, _ in imports
        if name.startswith("fastem.cli.reports")
    }
    assert {file.rpartition("/")[0] for file in importers} == {"cli/verbs", "cli/reports"}


def test_no_threading_layer_of_numba():
    offenders = [
        f"{file}:{node.lineno}"
        for file, tree in TREES.items()
        for node in ast.walk(tree)
        if "prange" in (getattr(node, "id", None), getattr(node, "attr", None))
        or (isinstance(node, ast.alias) and "prange" in node.name)
        or (
            isinstance(node, ast.keyword)
            and node.arg == "parallel"
            and getattr(node.value, "value", None) is not False
        )
    ]
    assert offenders == []


def _room(dotted):
    """Return the room of ``fastem.engines.base`` or ``engines/base.py``."""
    return re.split(r"[./]", dotted.removeprefix("fastem."))[0]


def _inner_imports():
    """Yield (file, dotted name) of every import of the package from one of its files."""
    for file, imports in IMPORTS.items():
        if file != "__init__.py":
            yield from ((file, name) for name, _ in imports if name.split(".")[0] == "fastem")


def test_every_module_is_in_a_room():
    top = {_room(file.removesuffix(".py")) for file in TREES} - {"__init__"}
    assert top == set(MAY_IMPORT)


def test_a_room_imports_from_lower_rooms_only():
    order = list(MAY_IMPORT)
    assert all(order.index(b) < order.index(a) for a in order for b in MAY_IMPORT[a])
    offenders, seen = [], 0
    for file, name in _inner_imports():
        inside, used = _room(file.removesuffix(".py")), _room(name)
        if used in MAY_IMPORT and used != inside:
            seen += 1
            if used not in MAY_IMPORT[inside]:
                offenders.append(f"{file} imports {name}")
        elif used not in MAY_IMPORT and inside not in ("cli", "__main__"):
            offenders.append(f"{file} imports {name} from the package itself")
    assert seen > 100
    assert offenders == []


def test_every_permission_is_used():
    used = {(_room(file.removesuffix(".py")), _room(name)) for file, name in _inner_imports()}
    unused = [(a, b) for a, rooms in MAY_IMPORT.items() for b in rooms if (a, b) not in used]
    assert unused == []


def test_each_room_has_one_way_in():
    """Other rooms are imported through their ``__init__``; kernels are modules of functions."""
    offenders = []
    for file, name in _inner_imports():
        room, parts = _room(name), name.split(".")[2:]
        inside = _room(file.removesuffix(".py"))
        is_folder = f"{room}/__init__.py" in TREES
        if is_folder and room not in ("kernels", inside) and len(parts) > 1:
            offenders.append(f"{file} imports {name}")
    assert offenders == []


def test_no_module_imports_itself_in_a_circle():
    modules = {file.removesuffix(".py").removesuffix("/__init__") for file in TREES}

    def target(name):
        path = name.removeprefix("fastem.").replace(".", "/")
        while path and path not in modules:
            path = path.rpartition("/")[0]
        return path

    graph = {module: set() for module in modules}
    for file, imports in IMPORTS.items():
        module = file.removesuffix(".py").removesuffix("/__init__")
        for name, place in imports:
            if name.startswith("fastem.") and place == "module" and (used := target(name)):
                graph[module].add(used)
    rooms = {module for module in modules if f"{module}/__init__.py" in TREES}
    # a module of a room may not import the room itself, which imports the module
    own = [m for m, used in graph.items() for u in used if u in rooms and m.startswith(f"{u}/")]
    assert own == []
    tuple(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError


def test_the_table_of_rooms_is_current():
    """CONTRIBUTING lists every room with the rooms that it imports from and about its lines."""
    text = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text("utf-8")
    rows = re.findall(r"^\| `([^`]+)` \| .* \| *(\d+) \| (.*) \|$", text, re.MULTILINE)
    listed = {name.rstrip("/").removesuffix(".py"): (int(n), used) for name, n, used in rows}
    lines = dict.fromkeys(MAY_IMPORT, 0)
    for path in FILES:
        room = _room(path.relative_to(ROOT).as_posix().removesuffix(".py"))
        if room in lines:
            lines[room] += len(path.read_text("utf-8").splitlines())
    rooms = set(MAY_IMPORT) - {"__main__", "_version"}
    assert rooms <= set(listed)
    for room in rooms:
        n, used = listed[room]
        wanted = MAY_IMPORT[room] - {"_version"}
        assert set(re.findall(r"`(\w+)`", used)) == wanted, room
        assert abs(n - lines[room]) <= 0.2 * lines[room] + 10, (room, n, lines[room])


REPOSITORY = Path(__file__).parent.parent
PUBLIC = {
    "fastem": fastem,
    "fastem.dask": fastem.dask,
    "fastem.engines": fastem.engines,
    "fastem.jax": fastem.jax,
    "fastem.onnx": fastem.onnx,
    "fastem.torch": fastem.torch,
}


def _shown_code():
    """Yield (where, syntax tree) of the examples and of the Python code in texts."""
    for path in sorted((REPOSITORY / "examples").rglob("*.py")):
        yield path.name, ast.parse(path.read_text("utf-8"))
    for path in [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]:
        for block in re.findall(r"```python\n(.*?)```", path.read_text("utf-8"), re.DOTALL):
            yield path.name, ast.parse(block)


def test_examples_and_texts_use_public_names_only():
    offenders, seen = [], 0
    for where, tree in _shown_code():
        for name, _ in _imports(tree):
            if name.split(".")[0] != "fastem":
                continue
            seen += 1
            module, _, attribute = name.rpartition(".")
            is_public = attribute in getattr(PUBLIC.get(module), "__all__", [])
            if name not in PUBLIC and not is_public:
                offenders.append(f"{where} imports {name}")
    assert seen > 3
    assert offenders == []


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_exist(name):
    module = PUBLIC[name]
    assert all(hasattr(module, attribute) for attribute in module.__all__)
    assert sorted(set(module.__all__)) == sorted(module.__all__)


def test_files_are_short():
    lengths = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in FILES}
    assert {f: n for f, x in lengths.items() if (n := len(x.splitlines())) > MAX_FILE_LINES} == {}


def test_functions_are_short():
    """Lines of the body after the docstring, which may be as long as its arrays need."""
    offenders = {}
    for file, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                documented = ast.get_docstring(node) is not None and len(node.body) > 1
                length = node.end_lineno - node.body[int(documented)].lineno + 1
                if length > MAX_FUNCTION_LINES:
                    offenders[f"{file}:{node.name}"] = length
    assert offenders == {}


def test_nothing_is_left_for_later():
    offenders = [
        f"{path.name}:{number}"
        for path in FILES
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if re.search(r"\b(TODO|FIXME|XXX)\b", line)
    ]
    assert offenders == []


PROBE = """
import importlib, json, sys, threading
sys.modules.update(dict.fromkeys({heavy}))  # whoever imports one of them fails
import fastem
for module in {modules}:
    importlib.import_module(module)
kernels = [m for name, m in sys.modules.items() if name.startswith("fastem.kernels.")]
dispatchers = {{id(x): x for m in kernels for x in vars(m).values() if hasattr(x, "overloads")}}
print(json.dumps({{
    "kernels": len(dispatchers),
    "compiled": [x.__name__ for x in dispatchers.values() if x.overloads],
    "frameworks": sorted({{"jax", "torch"}} & set(sys.modules)),
    "threads": [t.name for t in threading.enumerate() if t.name.startswith("fastem")],
}}))
"""


@pytest.mark.parametrize("everything", [False, True])
def test_importing_needs_no_optional_package_and_compiles_nothing(everything):
    names = [file.removesuffix(".py").replace("/", ".") for file in TREES]
    names = [name for name in names if not name.startswith("dask.")]  # users import it themselves
    modules = [f"fastem.{x}" for x in names if everything and not x.endswith(("__", "__main__"))]
    code = PROBE.format(modules=modules, heavy=["matplotlib", "onnx", "pandas", "skl2onnx"])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("kernels") > 10
    assert found == {"compiled": [], "frameworks": [], "threads": []}


def test_a_star_import_does_not_hide_the_frameworks():
    assert {"jax", "torch"} <= set(vars(fastem))
    assert not {"jax", "torch"} & set(fastem.__all__)
