"""`benches/report.py`, and the tables that it wrote in docs/."""

import json
import re
from pathlib import Path

import pytest
import report
import report_peers
from benchmark_json import COMMAND, row, run, write
from results import duration, figure

ROOT = Path(__file__).parents[1]

PAGE = """before
<!-- e_step table: written by benches/report.py -->
old
<!-- end -->
between
<!-- mlp table: written by benches/report.py -->
<!-- end -->
after
"""

E_STEPS = [
    row(report.E_STEP, f"bench_hidden_units[m={m}]", s, 1.5 * s, m=m, share_of_dgemm=share)
    for m, s, share in [(8, 1e-4, 0.1), (10, 0.0014, 0.426), (11, 0.002, 0.5), (20, 1.25, 0.8)]
]
MLPS = [
    row(report.MLP, f"bench_mlp[{name}]", 0.01, 0.012, ms_fastem=12.0, ms_sklearn=246.0,
        ratio_of_median_times=20.5, ratio_of_minimum_times=19.0, n_iter=100,
        largest_difference_of_losses=3.2e-13)
    for name in ("iris-smoke", "of-tomorrow")
]  # fmt: skip


@pytest.fixture
def files(tmp_path):
    """Return the arguments that keep the script away from the files of the repository."""
    paths = {name: tmp_path / f"{name}.txt" for name in ("page", "docs", "keep")}
    paths["page"].write_text(PAGE, "utf-8")
    return paths


def _main(json_path, files, *others):
    options = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    return report.main([str(json_path), *options, *others])


def test_the_repository_has_what_the_script_writes(files):
    files["page"].write_text((ROOT / "docs" / "results.md").read_text("utf-8"), "utf-8")
    assert _main(ROOT / "docs" / "benchmarks.json", files) == 0
    kept = {"page": "docs/results.md", "docs": "docs/benchmarks.md", "keep": "docs/benchmarks.json"}
    for name, path in kept.items():
        assert files[name].read_text("utf-8") == (ROOT / path).read_text("utf-8"), path


def test_what_is_kept_names_no_machine_and_is_small():
    text = (ROOT / "docs" / "benchmarks.json").read_text("utf-8")
    assert len(text) < 120_000
    results = json.loads(text)
    assert not {"node", "release"} & results["machine_info"].keys()
    assert results["commit_info"].keys() == {"id"}
    assert not re.search(r'["= ]/\w', text), "a path"


def test_every_row_of_the_page_has_a_name_of_its_own():
    results = json.loads((ROOT / "docs" / "benchmarks.json").read_text("utf-8"))
    names = [x["name"] for x in results["benchmarks"] if x["group"] == report.MLP]
    assert {f"bench_mlp[{name}]" for name in report.NETWORKS} == set(names)


def test_page_tables(tmp_path, files):
    assert _main(write(tmp_path / "a.json", run(*E_STEPS, *MLPS)), files) == 0
    text = files["page"].read_text("utf-8")
    assert [line for line in text.splitlines() if line.startswith("| ")] == [
        "| hidden units | states | minimum time | median time | share of dgemm |",
        "| 10 | 1 024 | 1.40 ms | 2.10 ms | 0.43 |",
        "| 20 | 1 048 576 | 1.25 s | 1.88 s | 0.80 |",
        "| network | fastem | scikit-learn | ratio of median times | ratio of minimum times |",
        "| iris, 8 units, Adam, batches of 8 | 12.0 ms | 246 ms | 20 | 19 |",
        "| of-tomorrow | 12.0 ms | 246 ms | 20 | 19 |",
    ]
    assert text.count("(Abacus, cores: 3, 2026-01-02; [all figures](benchmarks.md).)") == 2
    assert "old" not in text
    assert text.startswith("before\n")
    assert "<!-- end -->\nbetween\n" in text
    assert text.endswith("<!-- end -->\nafter\n")


OTHERS = [
    *(row(report.FIT, f"bench_fit[iris-smoke-{x}]", 0.01, 0.012, cv_log_loss=loss)
      for x, loss in (("em", 0.09), ("lbfgs", 0.1), ("mlp", 0.149))),
    row(report.MANY, "bench_many_units[odd_digits-200]", 50.0, 50.0, m=200, log_loss=0.05,
        log_loss_mlp=0.066),
    *(row(report.ENGINES, f"bench_engines[2-{m}]", 0.35, 0.4, g=2, m=m, ns_per_unit=350.0)
      for m in (8, 16, 100)),
    *(row(report.PEERS, f"bench_peers[{library}]", 1.5, 1.6, library=library, n=2000, m=16, g=3,
          threads=threads, precision=precision, ms_library=18.0 * ratio, ms_fastem=18.0,
          ratio_of_median_times=ratio, ratio_of_minimum_times=ratio)
      for library, threads, precision, ratio in (
          ("numpy-split", 1, "float64", 1.1), ("torch-split", 1, "float64", 1.2),
          ("jax-split", 2, "float32", 2.0), ("numpy-log", 1, "float64", 55.0),
          ("loops", 1, "float64", 9000.0))),
]  # fmt: skip


def test_tables_that_a_page_may_have(tmp_path, files):
    more = "".join(
        f"<!-- {name} table: written by benches/report.py -->\n<!-- end -->\n"
        for name in ("fit", "many", "engines", "peers")
    )
    files["page"].write_text(PAGE + more, "utf-8")
    assert _main(write(tmp_path / "a.json", run(*E_STEPS, *MLPS, *OTHERS)), files) == 0
    text = files["page"].read_text("utf-8")
    for line in (
        "| iris | 12.0 ms | 12.0 ms | 12.0 ms | 0.090 | 0.149 |",
        "| odd digits | 200 | 50.0 s | 0.050 | 0.066 |",
        "| 2 | 100 | 350 ms | 35.0 µs |",
        "| threads | precision | rows | hidden units | classes | fastem | NumPy | PyTorch | JAX |",
        "| 1 | float64 | 2 000 | 16 | 3 | 18.0 ms | 1.10 | 1.20 | - |",
        "| 2 | float32, mixed in fastem | 2 000 | 16 | 3 | 18.0 ms | - | - | 2.00 |",
        "- threads: 1, float64: 1.10 to 1.10",
        "| 1 | float64 | 2 000 | 16 | 3 | 18.0 ms | 55.0 | - | - | - | 9 000 |",
    ):
        assert f"\n{line}\n" in text
    assert "other work disturbed" not in text
    assert "| 2 | 16 |" not in text
    # what the page has a place for must be in the run
    files["page"].write_text(PAGE + more, "utf-8")
    assert _main(write(tmp_path / "b.json", run(*E_STEPS, *MLPS)), files) == 2


def test_disturbed_comparisons_of_libraries_are_counted():
    rows = [
        {"library": "numpy-split", "threads": 1, "precision": "float64", "n": 90, "m": 7, "g": 3,
         "ms_fastem": 1.0, "ratio_of_median_times": ratio, "ratio_of_minimum_times": 1.0}
        for ratio in (1.1, 1.4)
    ]  # fmt: skip
    assert "In 1 of 2 measurements" in report_peers.peers_tables(rows)
    assert "measurements" not in report_peers.peers_tables(rows[:1])


def test_document(tmp_path, files):
    path = write(tmp_path / "a.json", run(*E_STEPS, *MLPS))
    assert _main(path, files, "--note", "Made up.") == 0
    text = files["docs"].read_text("utf-8")
    assert "\n\nMade up.\n\n| item | value |\n|---|---|\n| processor | Abacus |\n" in text
    for line in (
        "| cores | 4, used: 3 |",
        "| memory | 16.0 GiB |",
        "| Python | CPython 3.12.1 |",
        "| numpy | 2.0.1 |",
        "| date | 2026-01-02 |",
        "| fastem | 0.1.0 |",
        "| commit | `0123456789ab` |",
        f"    {COMMAND}",
        "## e_step: hidden units",
        "| benchmark | minimum time | median time | rounds | hidden units | share of dgemm |",
        "| `hidden_units[m=8]` | 100 µs | 150 µs | 5 | 8 | 0.100 |",
        "| `mlp[iris-smoke]` | 10.0 ms | 12.0 ms | 5 | 12.0 | 246 | 20.5 | 19.0 | 100 | 3.20e-13 |",
    ):
        assert f"\n{line}\n" in text, line
    assert "some-" not in text


def test_what_is_kept_writes_the_same_again(tmp_path, files):
    path = write(tmp_path / "a.json", run(*E_STEPS, *MLPS))
    _main(path, files, "--note", "Made up.")
    first = {name: path.read_text("utf-8") for name, path in files.items()}
    for unwanted in ("data", "node", "flags", "branch", "some-"):
        assert unwanted not in first["keep"], unwanted
    assert _main(files["keep"], files) == 0
    assert {name: path.read_text("utf-8") for name, path in files.items()} == first


def test_absent_fields_are_unknown_or_absent(tmp_path, files):
    bare = run(*E_STEPS, *MLPS, machine_info={}, commit_info={}, run={}, datetime=None)
    assert _main(write(tmp_path / "a.json", bare), files) == 0
    text = files["docs"].read_text("utf-8")
    for name in ("processor", "memory", "date"):
        assert f"\n| {name} | unknown |\n" in text
    assert "| commit |" not in text
    assert "| fastem |" not in text


def _dirty():
    results = run(*E_STEPS, *MLPS)
    results["commit_info"]["dirty"] = True
    return results


def test_the_repository_has_no_figures_of_unknown_code():
    for path in ("docs/benchmarks.md", "docs/benchmarks.json"):
        text = (ROOT / path).read_text("utf-8")
        assert "0+unknown" not in text
        assert "with changes" not in text
        assert '"dirty"' not in text


def test_every_figure_of_the_repository_has_a_readable_name():
    results = json.loads((ROOT / "docs" / "benchmarks.json").read_text("utf-8"))
    names = {name for x in results["benchmarks"] for name in x["extra_info"]}
    without = {name for name in names if name not in report.COLUMNS}
    readable = {"accuracy", "classes", "engine", "groups", "outputs", "share_of_dgemm"}
    assert without == readable


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ("{", "is not JSON"),
        ("[1]", "is not a file that pytest --benchmark-json has written"),
        ({"benchmarks": []}, "is not a file that pytest --benchmark-json has written"),
        (run({"name": "bench"}), "is not a file that pytest --benchmark-json has written"),
        (
            run(row("g", "bench", "fast", 1.0)),
            "is not a file that pytest --benchmark-json has written",
        ),
        (
            run(row("g", "bench", 0.0, 1.0)),
            "is not a file that pytest --benchmark-json has written",
        ),
        (run(), "contains no benchmarks"),
        (run(*E_STEPS), "no benchmarks of the group 'mlp: against scikit-learn'"),
        (run(*MLPS), "no benchmarks of the group 'e_step: hidden units'"),
        (run(E_STEPS[0], *MLPS), "ten hidden units or more"),
        (run(*E_STEPS, row(report.MLP, "bench", 1.0, 1.0)), "a benchmark without 'ms_fastem'"),
        (None, "No such file"),
        (_dirty(), "from a tree with uncommitted changes"),
    ],
)
def test_unusable_json(tmp_path, files, capsys, results, message):
    path = tmp_path / "a.json"
    if results is not None:
        write(path, results)
    assert _main(path, files) == 2
    _assert_one_line(capsys, message)
    assert files["page"].read_text("utf-8") == PAGE
    assert not files["docs"].exists()
    assert not files["keep"].exists()


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (None, "No such file"),
        ("", "must have this line once: <!-- e_step table"),
        (PAGE + PAGE, "must have this line once: <!-- e_step table"),
        (PAGE.partition("between")[0], "must have this line once: <!-- mlp table"),
        (PAGE.replace("<!-- end -->", "", 1), "lacks <!-- end --> after: <!-- e_step"),
        (PAGE.partition("<!-- end -->\nafter")[0], "lacks <!-- end --> after: <!-- mlp"),
    ],
)
def test_unusable_page(tmp_path, files, capsys, page, message):
    files["page"].unlink()
    if page is not None:
        files["page"].write_text(page, "utf-8")
    assert _main(write(tmp_path / "a.json", run(*E_STEPS, *MLPS)), files) == 2
    _assert_one_line(capsys, message)
    assert not files["docs"].exists()


def _assert_one_line(capsys, message):
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("error: ")
    assert message in printed.err


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(61.0, "61.0 s"), (0.99996, "1.00 s"), (0.9994, "999 ms"), (1.2e-3, "1.20 ms"),
     (9.5e-5, "95.0 µs"), (2e-8, "0.0200 µs")],
)  # fmt: skip
def test_duration(seconds, expected):
    assert duration(seconds) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0"), (12345, "12 345"), (999.4, "999"), (999.6, "1 000"), (0.0, "0.00"), (-1.5, "-1.50")],
)
def test_figure(value, expected):
    assert figure(value) == expected


def test_disturbed_rows_are_called_so(tmp_path, files):
    shares = [row(report.E_STEP, "bench_x", 1.0, 1.0, m=10, share_of_dgemm=1.2)]
    ratios = [
        row(report.MLP, "bench_y", 1.0, 1.0, ms_fastem=1.0, ms_sklearn=9.0,
            ratio_of_median_times=9.0, ratio_of_minimum_times=6.0)
    ]  # fmt: skip
    assert _main(write(tmp_path / "a.json", run(*shares, *ratios)), files) == 0
    for name in ("page", "docs"):
        text = files[name].read_text("utf-8")
        assert text.count("A share above 1") == text.count("two ratios differ by a third") == 1
    assert _main(write(tmp_path / "a.json", run(*E_STEPS, *MLPS)), files) == 0
    for name in ("page", "docs"):
        text = files[name].read_text("utf-8")
        assert "A share above 1" not in text
        assert "differ by a third" not in text
