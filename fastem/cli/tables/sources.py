"""Read the bytes of a table: files, standard input, compression and encodings."""

import codecs
import re
import stat
import sys
import zlib
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path

BUILT_IN = ("iris", "wine", "breast_cancer", "digits", "diabetes")
STANDARD_INPUT = "-"
PARQUET = b"PAR1"
_FOREIGN = {
    b"\xd0\xcf\x11\xe0": "an Excel file of the old format: save the sheet as a CSV file",
    b"%PDF": "a PDF file",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    **{bytes((0x80, protocol)): "a pickle of Python objects" for protocol in range(2, 6)},
    b"\x93NUMPY": "an array of NumPy: write it as a CSV file with numpy.savetxt",
    b"SQLite format 3\0": "an SQLite database: export the table as a CSV file",
    b"\x89HDF": "an HDF5 file: export the table as a CSV file",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: decompress it, or use gzip",
    b"7z\xbc\xaf": "a 7z archive: unpack it first",
    b"<!DOCTYPE": "an HTML page",
    b"<html": "an HTML page",
    b"<?xml": "an XML file",
}
# The longest first: the mark of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Control characters that occur in no text: all but tab, line feed, form feed, carriage return.
_CONTROLS = bytes(code for code in range(32) if code not in b"\t\n\f\r")
_HEAD_BYTES = 1 << 13
_MOST_CONTROLS = 0.02  # share of the first bytes
_CP1252_BYTES = re.compile(rb"[\x80-\x9f]")  # letters and marks in cp1252, controls in latin-1
_LATIN_CONTROLS = re.compile(rb"\xc2[\x80-\x9f]")  # the same controls in UTF-8


def shown_name(source: str) -> str:
    """Return the name of a source in messages."""
    return "standard input" if source == STANDARD_INPUT else source


def read_bytes(source: str) -> bytes:
    """Return the content of a file or of standard input, decompressed.

    Parameters
    ----------
    source : str
        A path, or ``-`` for standard input. Compression by gzip, zip (one file in the archive),
        bzip2 and xz is recognised by the first bytes.

    Returns
    -------
    data : bytes

    Raises
    ------
    ValueError
        If the source is no readable file, or has a format that is not a table.
    OSError
        If the file cannot be read.
    """
    name = shown_name(source)
    if source == STANDARD_INPUT:
        if sys.stdin is None:
            raise ValueError("standard input is closed")
        data = sys.stdin.buffer.read()
    else:
        _check_kind(source)
        data = Path(source).read_bytes()
    if not data:
        raise ValueError(f"{name} is empty")
    data = _decompressed(name, data)
    for magic, what in _FOREIGN.items():
        if data.startswith(magic):
            raise ValueError(f"{name} cannot be read as a CSV file: it is {what}")
    return data


def decoded(source: str, data: bytes, encoding: str | None) -> bytes:
    """Return text of any encoding as UTF-8, without a byte order mark.

    Parameters
    ----------
    source : str
        Name of the source.
    data : bytes
    encoding : str or None
        None is UTF-8, or the encoding of the byte order mark.

    Raises
    ------
    ValueError
        If the bytes are not text of the encoding, or contain control characters that show that
        they are no text or have another encoding.
    """
    name = shown_name(source)
    if encoding is None:
        _check_is_text(name, data)
        marked = next((known for mark, known in _MARKS if data.startswith(mark)), "utf-8")
        text = _as_utf8(name, data, marked, "is not {encoding} text")
    else:
        try:
            codecs.lookup(encoding)
        except (LookupError, ValueError):
            raise ValueError(
                f"argument --encoding: Python has no encoding {encoding!r}; examples are utf-8, "
                "latin-1, cp1252, utf-16"
            ) from None
        text = _as_utf8(name, data, encoding, "is not text in the encoding {encoding}")
        _check_is_text(name, text)
        _check_latin(name, text, encoding)
    if b"\0" in text:
        line = text.count(b"\n", 0, text.index(b"\0")) + 1
        raise ValueError(
            f"{name} cannot be read as a CSV file: line {line} contains a NUL character. The file "
            "is binary or damaged, or it is UTF-16 without a byte order mark (--encoding "
            "utf-16-le)"
        )
    return text


def _check_is_text(name: str, data: bytes) -> None:
    """Raise ValueError if the first bytes contain many control characters, as binary files do."""
    head = data[:_HEAD_BYTES]
    n_found = len(head) - len(head.translate(None, _CONTROLS))
    if n_found > max(1.0, _MOST_CONTROLS * len(head)) and not _is_wide(head):
        place = next(i for i, byte in enumerate(head) if byte in _CONTROLS)
        line = head.count(b"\n", 0, place) + 1
        raise ValueError(
            f"{name} is not a table of text: it contains bytes that occur in no text, like "
            f"0x{head[place]:02x} in line {line}"
        )


def _is_wide(head: bytes) -> bool:
    """Return whether the first bytes of a file are text in UTF-16 or UTF-32."""
    for encoding in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        try:  # the last character may be cut
            text = codecs.getincrementaldecoder(encoding)().decode(head).encode("utf-8")
        except UnicodeError:
            continue
        has_fields = any(mark in text for mark in b",;|\t\r\n")
        if has_fields and len(text) == len(text.translate(None, _CONTROLS)):
            return True
    return False


def _check_latin(name: str, text: bytes, encoding: str) -> None:
    """Raise ValueError if text that was read as latin-1 has control characters of latin-1."""
    if codecs.lookup(encoding).name not in ("iso8859-1", "iso8859-15"):
        return
    found = _LATIN_CONTROLS.search(text)
    if found:
        line = text.count(b"\n", 0, found.start()) + 1
        raise ValueError(
            f"{name} is not text in the encoding {encoding}: byte 0x{found[0][1]:02x} in line "
            f"{line} is a control character there; give --encoding cp1252, in which it is a "
            "letter or a mark"
        )


def _check_kind(source: str) -> None:
    """Raise ValueError if the path is not a file, a pipe or a terminal."""
    path = Path(source)
    if not path.exists():
        remedy = " (download the file first)" if "://" in source else ""
        raise ValueError(
            f"no such file or data set: {source!r}{remedy}; built-in data sets: "
            f"{', '.join(BUILT_IN)}"
        )
    mode = path.stat().st_mode
    for is_kind, what in (
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISBLK, "a device"),
        (stat.S_ISCHR, "a device"),  # a device may never end
    ):
        if is_kind(mode) and not _is_terminal(path, mode):
            raise ValueError(f"{source} is {what}, not a file")


def _is_terminal(path: Path, mode: int) -> bool:
    if not stat.S_ISCHR(mode):
        return False
    with path.open("rb", buffering=0) as stream:
        return stream.isatty()


def _decompressed(name: str, data: bytes) -> bytes:
    for magic, decompress in _DECOMPRESSORS.items():
        if data.startswith(magic):
            try:
                return decompress(data)
            except MemoryError:
                raise
            except Exception as error:  # every compression format raises its own errors
                raise ValueError(f"{name} cannot be read as a CSV file: {error}") from error
    return data


def _decompressed_by(module: str, data: bytes) -> bytes:
    return import_module(module).decompress(data)


def _unzip(data: bytes) -> bytes:
    import io
    import zipfile

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = [item.filename for item in archive.infolist() if not item.is_dir()]
        if "[Content_Types].xml" in names or "mimetype" in names:
            raise ValueError("it is a spreadsheet or a document: save the sheet as a CSV file")
        # macOS adds files that describe the others
        names = [name for name in names if not name.startswith("__MACOSX/")]
        if len(names) != 1:
            raise ValueError(f"the zip archive contains {len(names)} files, and one is needed")
        return archive.read(names[0])


_DECOMPRESSORS: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": partial(_decompressed_by, "gzip"),
    b"PK\x03\x04": _unzip,
    b"PK\x05\x06": _unzip,  # an empty archive
    b"BZh": partial(_decompressed_by, "bz2"),
    b"\xfd7zXZ\0": partial(_decompressed_by, "lzma"),
}


def _as_utf8(name: str, data: bytes, encoding: str, problem: str) -> bytes:
    try:
        if encoding == "utf-8":  # only checked, because a copy is large
            data = data.removeprefix(codecs.BOM_UTF8)
            if not data.isascii():
                data.decode("utf-8")
            return data
        return data.decode(encoding).removeprefix("\ufeff").encode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        what = problem.format(encoding=encoding.upper() if encoding == "utf-8" else encoding)
        example = "cp1252" if _CP1252_BYTES.search(data) else "latin-1"
        example = "utf-16-le" if b"\0" in data else example
        is_default = problem.startswith("is not {")
        remedy = f"; name its encoding, for example --encoding {example}" if is_default else ""
        raise ValueError(
            f"{name} {what}: byte 0x{data[error.start]:02x} in line {line} is invalid{remedy}"
        ) from None
    except (UnicodeError, LookupError, ValueError, zlib.error) as error:
        raise ValueError(f"{name} {problem.format(encoding=encoding)}: {error}") from None
