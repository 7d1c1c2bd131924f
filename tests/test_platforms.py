"""What Windows and macOS lack: the package must not need it. Linux simulates its absence."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import numba

import fastem
from fastem.runtime import cores

ROOT = Path(fastem.__file__).parent
TREES = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text("utf-8"))
    for path in sorted(ROOT.rglob("*.py"))
}
# Modules that one kind of system has.
ONE_SYSTEM = {
    "crypt", "fcntl", "grp", "msvcrt", "nis", "posix", "pty", "pwd", "resource", "syslog",
    "termios", "tty", "winreg", "winsound",
}  # fmt: skip
# Names of `os` and `signal` that Windows lacks, or macOS.
POSIX_ONLY = {
    "chown", "chroot", "fork", "forkpty", "get_terminal_size_posix", "getegid", "geteuid", "getgid",
    "getloadavg", "getpgid", "getuid", "killpg", "mkfifo", "nice", "openpty", "posix_spawn",
    "pread", "pwrite", "register_at_fork", "sched_getaffinity", "sched_setaffinity", "sched_yield",
    "sendfile", "setsid", "setuid", "statvfs", "sysconf", "uname", "wait", "waitpid", "wait4",
    "SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGSTOP", "SIGUSR1",
    "SIGUSR2", "alarm", "pthread_kill", "pthread_sigmask", "setitimer", "sigwait",
}  # fmt: skip


def _uses(tree, is_guarded=lambda name: False):
    """Yield the names of `os` and `signal` that a tree uses without a check that they exist."""
    for node in ast.iter_child_nodes(tree):
        check = is_guarded
        if isinstance(node, ast.If):
            test = ast.unparse(node.test)
            check = lambda name, test=test, outer=is_guarded: (  # noqa: E731
                outer(name) or f"hasattr(os, '{name}')" in test
            )
        if isinstance(node, ast.Try):
            caught = " ".join(ast.unparse(x.type) for x in node.handlers if x.type is not None)
            if "AttributeError" in caught:
                check = lambda name: True  # noqa: E731
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in ("os", "signal")
            and node.attr in POSIX_ONLY
            and not check(node.attr)
        ):
            yield node.attr
        yield from _uses(node, check)


def test_the_search_finds_unguarded_names():
    source = """
os.fork()
if hasattr(os, "sysconf"):
    os.sysconf(0)
    os.getuid()
try:
    os.nice(1)
except AttributeError:
    pass
try:
    signal.alarm(1)
except OSError:
    os.uname()
"""
    assert sorted(_uses(ast.parse(source))) == ["alarm", "fork", "getuid", "uname"]


def _imports(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        if isinstance(node, ast.ImportFrom):
            yield str(node.module).partition(".")[0]


def test_no_module_needs_one_system():
    assert "sklearn" in set(_imports(TREES["estimators/em.py"]))
    assert {path: x for path in TREES if (x := set(_imports(TREES[path])) & ONE_SYSTEM)} == {}
    assert {path: x for path in TREES if (x := list(_uses(TREES[path])))} == {}


def test_files_of_kernels_have_names_that_windows_allows():
    kernels = [
        kernel
        for name, module in list(sys.modules.items())
        if name.startswith("fastem.kernels.")
        for kernel in vars(module).values()
        if isinstance(kernel, numba.core.registry.CPUDispatcher)
    ]
    assert len(kernels) > 100
    names = "".join(kernel.py_func.__qualname__ for kernel in kernels)
    assert not set(names) & set('<>:"/\\|?*')


def test_the_command_prints_characters_that_every_console_has():
    texts = {path: (ROOT / path).read_text("utf-8") for path in TREES if path.startswith("cli/")}
    assert len(texts) > 40
    assert [path for path, text in texts.items() if not text.isascii()] == []


def test_cores_without_affinity(monkeypatch):
    monkeypatch.delattr(cores.os, "sched_getaffinity", raising=False)
    assert cores.cores() == max(cores._limit_of_cores(), 1)


def test_siblings_without_proc(monkeypatch):
    class Absent:
        def __init__(self, path):
            assert path.startswith("/proc/")

        def iterdir(self):
            raise FileNotFoundError

    monkeypatch.setattr(cores, "Path", Absent)
    assert cores._n_siblings() == cores.cores()


_PROGRAM = """
import json, os, pathlib, sys, tempfile
import numpy as np
import joblib, numba, scipy.special, sklearn.datasets, sklearn.model_selection, threadpoolctl

if sys.argv[1] == "without":
    names = "fork forkpty register_at_fork sched_getaffinity sysconf getuid uname getloadavg"
    for name in names.split():
        if hasattr(os, name):
            delattr(os, name)

    def absent(self, *arguments, read=pathlib.Path.read_text, **settings):
        if str(self).startswith(("/proc", "/sys")):
            raise FileNotFoundError(str(self))
        return read(self, *arguments, **settings)

    pathlib.Path.read_text = absent

import fastem
from fastem.runtime import memory, threads

X, y = sklearn.datasets.load_iris(return_X_y=True)
model = fastem.FastEMClassifier((4,), alpha=0.1, random_state=0).fit(X, y)
network = fastem.FastMLPClassifier((4,), solver="lbfgs", random_state=0).fit(X, y)
with tempfile.TemporaryDirectory() as folder:
    model.save(pathlib.Path(folder, "a.npz"))
    loaded = fastem.FastEMClassifier.load(pathlib.Path(folder, "a.npz"))
try:
    memory.check_memory("This test", "of memory", "", 2.0**50)
    message = ""
except ValueError as error:
    message = str(error)
print(json.dumps({
    "em": loaded.predict_proba(X).sum(axis=0).tolist(),
    "mlp": network.predict_proba(X).sum(axis=0).tolist(),
    "bytes": memory.available_bytes(),
    "message": message,
    "hooks": hasattr(os, "register_at_fork"),
}))
"""


def _results(mode):
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, mode], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_fits_without_what_windows_lacks():
    with_all, without = _results("with"), _results("without")
    assert not without["hooks"]
    assert without["bytes"] is None
    assert "at most can be addressed" in without["message"]
    for name in ("em", "mlp"):
        assert without[name] == with_all[name], name
