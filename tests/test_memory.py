"""What is asked of the system before anything large is allocated."""

from pathlib import Path

import pytest

from fastem.runtime import memory


@pytest.fixture
def system(monkeypatch, tmp_path):
    """A machine whose files are those that a test writes; none at first."""
    limits = (
        (str(tmp_path / "memory.max"), str(tmp_path / "memory.current")),
        (str(tmp_path / "limit_in_bytes"), str(tmp_path / "usage_in_bytes")),
    )
    monkeypatch.setattr(memory, "_CGROUP_LIMITS", limits)
    monkeypatch.setattr(memory, "Path", lambda path: tmp_path / Path(path).name)

    def write(**texts):
        for name, text in texts.items():
            (tmp_path / name.replace("memory_", "memory.")).write_text(str(text))

    return write


def test_available_bytes_of_this_machine():
    available = memory.available_bytes()
    assert isinstance(available, int)
    assert available > 2**20


def test_what_linux_calls_available(system):
    system(meminfo="MemTotal:  100 kB\nMemFree:  10 kB\nMemAvailable:   48 kB\nBuffers: 1 kB\n")
    assert memory.available_bytes() == 48 * 1024


@pytest.mark.parametrize(
    ("limit", "usage", "expected"),
    [
        ("5000\n", "2000\n", 3000),
        ("5000\n", "6000\n", 0),  # over its limit already
        ("max\n", "2000\n", 49152),
        ("9223372036854771712", "2000", 49152),  # unlimited, as version 1 says it
        ("garbage", "2000", 49152),
    ],
)
@pytest.mark.parametrize(
    "names", [("memory_max", "memory_current"), ("limit_in_bytes", "usage_in_bytes")]
)
def test_control_groups_lower_it(system, names, limit, usage, expected):
    system(meminfo="MemAvailable: 48 kB", **{names[0]: limit, names[1]: usage})
    assert memory.available_bytes() == expected


def test_a_limit_without_a_usage_is_not_used(system):
    system(meminfo="MemAvailable: 48 kB", memory_max="5000")
    assert memory.available_bytes() == 49152


def test_the_lowest_of_all_limits_counts(system):
    system(meminfo="MemAvailable: 48 kB", memory_max=9000, memory_current=100)
    system(limit_in_bytes=700, usage_in_bytes=100)
    assert memory.available_bytes() == 600


@pytest.mark.parametrize(
    ("stat", "expected"),
    [
        ("anon 1000\ninactive_file 1500\nactive_file 100\n", 4500),
        ("inactive_file 7\ntotal_inactive_file 500\n", 3500),  # version 1: the groups below too
        ("inactive_file 9999\n", 5000),
        ("anon 1000\n", 3000),
        ("inactive_file\n", 3000),
        ("inactive_file many\n", 3000),
        (None, 3000),
    ],
)
@pytest.mark.parametrize(
    "names", [("memory_max", "memory_current"), ("limit_in_bytes", "usage_in_bytes")]
)
def test_cached_files_of_a_control_group_count_as_free(system, names, stat, expected):
    system(meminfo="MemAvailable: 48 kB", **{names[0]: 5000, names[1]: 2000})
    if stat is not None:
        system(memory_stat=stat)
    assert memory.available_bytes() == expected


@pytest.mark.parametrize("text", ["", "MemTotal: 100 kB", "MemAvailable:", "MemAvailable: x kB"])
def test_elsewhere_physical_memory_counts(system, monkeypatch, text):
    system(meminfo=text)
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 10}
    monkeypatch.setattr(memory.os, "sysconf", sizes.__getitem__)
    assert memory.available_bytes() == 40960


@pytest.mark.parametrize("error", [ValueError, OSError, AttributeError])
@pytest.mark.usefixtures("system")
def test_a_system_that_tells_nothing(monkeypatch, error):
    def refuse(name):
        raise error(name)

    monkeypatch.setattr(memory.os, "sysconf", refuse)
    assert memory.available_bytes() is None


@pytest.mark.parametrize(
    ("text", "expected"), [("12\n", 12), ("0", 0), ("max", None), ("", None), (None, None)]
)
def test_read_integer(tmp_path, text, expected):
    path = tmp_path / "file"
    if text is not None:
        path.write_text(text)
    assert memory._read_integer(str(path)) == expected


@pytest.mark.parametrize(
    ("n_bytes", "expected"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1 KiB (1024 bytes)"),
        (1536, "1.5 KiB (1536 bytes)"),
        (3 * 2**19, "1.5 MiB (1572864 bytes)"),
        (3 * 2**29, "1.5 GiB (1610612736 bytes)"),
        (123456789, "117.7 MiB (123456789 bytes)"),
        (2**40, "1 TiB (1099511627776 bytes)"),
        (2**52, "4 PiB (4503599627370496 bytes)"),
        (2**70, "1.049e+06 PiB (1180591620717411303424 bytes)"),
    ],
)
def test_format_bytes(n_bytes, expected):
    assert memory.format_bytes(n_bytes) == expected
