"""Made-up results of pytest-benchmark in the format of its JSON."""

import json

COMMAND = "pytest --benchmark-only --benchmark-json=made_up.json"


def row(group, name, minimum, median, **extra):
    stats = {"min": minimum, "median": median, "rounds": 5, "data": [minimum, median]}
    return {"group": group, "name": name, "stats": stats, "extra_info": extra}


def run(*rows, **others):
    """Return the results of a run on a machine that does not exist."""
    machine = {
        "node": "some-host",
        "system": "Linux",
        "python_implementation": "CPython",
        "python_version": "3.12.1",
        "cpu": {"brand_raw": "Abacus", "count": 4, "flags": ["beads"]},
    }
    facts = {
        "cores": 3,
        "memory_bytes": 2**34,
        "versions": {"numpy": "2.0.1", "fastem": "0.1.0"},
        "command": COMMAND,
    }
    commit = {"id": "0123456789abcdef", "dirty": False, "branch": "some-branch"}
    return {
        "machine_info": machine,
        "commit_info": commit,
        "run": facts,
        "datetime": "2026-01-02T03:04:05+00:00",
        "benchmarks": list(rows),
        **others,
    }


def write(path, results):
    path.write_text(results if isinstance(results, str) else json.dumps(results), "utf-8")
    return str(path)
