"""Available memory, checked before anything large is allocated."""

import os
from pathlib import Path

_CGROUP_LIMITS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
# Less memory than this is not checked: the limits of the system are in files, and reading them
# takes longer than a small E-step.
_NEGLIGIBLE_BYTES = 2**26
# Address space of a 64-bit process: the limit if nothing else is known.
_ADDRESSABLE = 2**47


def _read_integer(path: str) -> int | None:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return None


def _reclaimable_bytes(usage_file: str) -> int:
    """Return the memory that a control group uses for cached files that are not in use."""
    try:
        lines = Path(usage_file).with_name("memory.stat").read_text().splitlines()
        fields = dict(line.split() for line in lines)
        # control groups of version 1 report the first field, which includes subgroups
        return int(fields.get("total_inactive_file", fields.get("inactive_file", 0)))
    except (OSError, ValueError):
        return 0


def fits(n_bytes: float) -> bool:
    """Return whether this process could allocate so many bytes, as far as is known."""
    if n_bytes <= _NEGLIGIBLE_BYTES:
        return True
    available = available_bytes()
    return available is None or n_bytes <= available


def available_bytes() -> int | None:
    """Return the bytes that this process could still allocate, or None if unknown.

    On Linux this is the smallest of the system's available memory and the limits of the control
    groups, whose file cache counts as free. Elsewhere it is the physical memory of the machine.
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
            used = max(usage - _reclaimable_bytes(usage_file), 0)
            found.append(max(limit - used, 0))
    if not found:
        try:
            found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
        except (AttributeError, OSError, ValueError):
            return None
    return min(found)


def format_bytes(n_bytes: int) -> str:
    """Return a size as text: ``1.5 GiB (1610612736 bytes)``."""
    size = float(n_bytes)
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if size < 1024 or unit == "PiB":
            return f"{n_bytes} bytes" if unit == "bytes" else f"{size:.4g} {unit} ({n_bytes} bytes)"
        size /= 1024
    raise AssertionError("unreachable")


def check_memory(
    subject: str, purpose: str, remedy: str, n_bytes: float, text: str | None = None
) -> None:
    """Raise if work needs more memory than is available, before any of it is allocated.

    Parameters
    ----------
    subject, purpose, remedy : str
        Parts of the message: "{subject} needs {n_bytes} {purpose}, ... {remedy}".
    n_bytes : int or infinity
        Memory that the work needs, in bytes. Up to 64 MiB are not checked.
    text : str, optional
        Text for ``n_bytes`` if the number is too large to print.

    Raises
    ------
    ValueError
        If fewer bytes are available. If the available memory is unknown, the limit is 2**47 bytes.
    """
    if n_bytes <= _NEGLIGIBLE_BYTES:
        return
    available = available_bytes()
    limit = _ADDRESSABLE if available is None else available
    if n_bytes > limit:
        there = "at most can be addressed" if available is None else "are available"
        raise ValueError(
            f"{subject} needs {format_bytes(int(n_bytes)) if text is None else text} {purpose}, "
            f"and {format_bytes(limit)} {there}. {remedy}"
        )
