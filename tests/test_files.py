"""Files that are written completely or not at all."""

import os
import stat

import pytest

from fastem.runtime import replacing


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_new_file_has_the_bytes_and_the_mode_of_other_new_files(tmp_path):
    (tmp_path / "other").write_bytes(b"")
    with replacing(tmp_path / "new") as file:
        file.write(b"content")
        assert "new" not in names_in(tmp_path)
    assert (tmp_path / "new").read_bytes() == b"content"
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "other").stat().st_mode
    assert names_in(tmp_path) == ["new", "other"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_an_error_in_the_body_changes_nothing(tmp_path, error):
    path = tmp_path / "file"
    path.write_bytes(b"before")

    def write_half():
        with replacing(path) as file:
            file.write(b"half")
            raise error("in the body")

    with pytest.raises(error, match="in the body"):
        write_half()
    assert path.read_bytes() == b"before"
    assert names_in(tmp_path) == ["file"]


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
def test_an_existing_file_keeps_its_mode_and_a_link_stays(tmp_path):
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_bytes(b"before")
    file.chmod(0o604)
    link.symlink_to(file)
    with replacing(link) as opened:
        opened.write(b"after")
    assert link.is_symlink()
    assert file.read_bytes() == b"after"
    assert stat.S_IMODE(file.stat().st_mode) == 0o604


def write_to(path, content=b"content"):
    with replacing(path) as file:
        file.write(content)


@pytest.mark.parametrize("target", ["no/such/folder", "."])
def test_errors_name_the_path_of_the_caller(tmp_path, target):
    path = tmp_path / target
    with pytest.raises(OSError, match="directory") as caught:
        write_to(path)
    assert caught.value.filename == str(path)
    assert caught.value.filename2 is None
    assert ".fastem." not in str(caught.value)
    assert names_in(tmp_path) == []


def test_an_interrupt_after_the_replacement_is_not_hidden(tmp_path, monkeypatch):
    replace = os.replace

    def interrupted(source, target):
        replace(source, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "a") as file:
        file.write(b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"new"


def test_an_error_about_another_file_keeps_its_name(tmp_path):
    def copy():
        with replacing(tmp_path / "copy") as file:
            file.write((tmp_path / "source").read_bytes())

    with pytest.raises(FileNotFoundError) as caught:
        copy()
    assert os.fspath(caught.value.filename) == str(tmp_path / "source")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_devices_are_written_in_place():
    write_to("/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        write_to("/dev/full")


def test_a_file_in_a_folder_without_permission_is_written_in_place(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"before, and longer")
    number, access = path.stat().st_ino, os.access
    monkeypatch.setattr(os, "access", lambda p, mode: str(p) != str(tmp_path) and access(p, mode))
    write_to(path, b"after")
    assert path.read_bytes() == b"after"
    assert path.stat().st_ino == number
