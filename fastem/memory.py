"""How much memory there is, asked before anything large is allocated."""

import os
from pathlib import Path

_CGROUP_LIMITS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def _read_integer(path: str) -> int | None:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return None


def available_bytes() -> int | None:
    """Return the bytes that this process could still allocate, or None if unknown.

    Looks at what Linux calls available and at the limits of its control groups; elsewhere
    at the physical memory of the machine.
    """
    found = []
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
    except (OSError, ValueError, IndexError):
        pass
    for limit_file, usage_file in _CGROUP_LIMITS:
        limit, usage = _read_integer(limit_file), _read_integer(usage_file)
        if limit is not None and usage is not None:
            found.append(max(limit - usage, 0))
    if not found:
        try:
            found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
        except (AttributeError, OSError, ValueError):
            return None
    return min(found)


def format_bytes(n_bytes: int) -> str:
    """Return a size for people: ``1.5 GiB (1610612736 bytes)``."""
    size = float(n_bytes)
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if size < 1024 or unit == "PiB":
            return f"{n_bytes} bytes" if unit == "bytes" else f"{size:.4g} {unit} ({n_bytes} bytes)"
        size /= 1024
    raise AssertionError("unreachable")
