"""Plain ``pytest`` collects tests/; ``pytest --benchmark-only`` collects benches/ instead."""

from pathlib import Path

_ROOT = Path(__file__).parent


def pytest_ignore_collect(collection_path, config):
    unwanted = "tests" if config.getoption("benchmark_only", False) else "benches"
    return True if collection_path.is_relative_to(_ROOT / unwanted) else None
