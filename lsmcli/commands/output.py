"""Rows and reports as text: for people as lines and tables, for programs as JSON. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from lsmcli.formats.esc import plain, quoted, safe_text

COLOR_KEY: Final = b"\x1b[36m"
COLOR_OFF: Final = b"\x1b[0m"
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def size_text(size: int) -> str:
    """A size in bytes for people: (0) = "0 B", (1536) = "1.5 KiB"."""
    scaled = float(size)
    for unit in _UNITS:
        if scaled < 1024 or unit == _UNITS[-1]:
            break
        scaled /= 1024
    return f"{size} B" if unit == "B" else f"{scaled:.1f} {unit}"


def entries_text(count: int) -> str:
    """A number of entries for people: (1) = "1 entry"."""
    return "1 entry" if count == 1 else f"{count} entries"


def bar_text(part: float, width: int = 10) -> str:
    """A bar for a share from 0 to 1, in ASCII: (0.25, 8) = "##......"; anything above zero shows."""
    filled = min(width, round(part * width))
    if part > 0:
        filled = max(1, filled)
    return "#" * filled + "." * (width - filled)


def scalar_text(item: Any) -> str:
    """One value of a report, on one line: bytes as escaped text, no value as "-"."""
    if item is None:
        return "-"
    if isinstance(item, bool):
        return "yes" if item else "no"
    if isinstance(item, (bytes, bytearray, memoryview)):
        return plain(bytes(item)).decode("utf-8")
    if isinstance(item, Mapping):
        return "{" + ", ".join(f"{name}={scalar_text(value)}" for name, value in item.items()) + "}"
    if isinstance(item, (list, tuple)):
        return "[" + ", ".join(map(scalar_text, item)) + "]"
    return safe_text(str(item))


def report_lines(report: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """A nested report as aligned `name  value` lines; a list of records becomes one line each."""
    width = max(map(len, report), default=0)
    for name, item in report.items():
        if isinstance(item, Mapping):
            yield f"{indent}{name}"
            yield from report_lines(item, indent + "  ")
        elif isinstance(item, (list, tuple)) and item and isinstance(item[0], Mapping):
            yield f"{indent}{name}"
            for record in item:
                yield f"{indent}  {record_line(record)}"
        else:
            yield f"{indent}{name:<{width}}  {scalar_text(item)}"


def record_line(record: Mapping[str, Any]) -> str:
    """One record as `name=value` fields on one line; a value with a space or a = in it stands in quotes."""
    return " ".join(f"{name}={_field_text(item)}" for name, item in record.items())


def _field_text(item: Any) -> str:
    if isinstance(item, str):
        item = item.encode("utf-8", "surrogateescape")
    if isinstance(item, bytes) and (b" " in item or b"=" in item or not item):
        return quoted(item).decode("ascii")
    return scalar_text(item)


def json_line(item: Any) -> str:
    """One line of JSON for a report or a record; bytes become a string, or a $base64 object."""
    import json

    return json.dumps(_json_ready(item), ensure_ascii=False, separators=(", ", ": "))


def _json_ready(item: Any) -> Any:
    if isinstance(item, (bytes, bytearray, memoryview)):
        try:
            return bytes(item).decode()
        except UnicodeDecodeError:
            import binascii

            return {"$base64": True, "encoded": binascii.b2a_base64(item, newline=False).decode("ascii")}
    if isinstance(item, Mapping):
        return {str(name): _json_ready(value) for name, value in item.items()}
    if isinstance(item, (list, tuple, set, frozenset)):
        return [_json_ready(value) for value in item]
    if item is None or isinstance(item, (bool, int, float, str)):
        return item
    return str(item)


def lines_bytes(lines: Iterable[str]) -> Iterator[bytes]:
    """Text lines as UTF-8 with their line ends; what a file name holds beyond UTF-8 survives."""
    for line in lines:
        yield line.encode("utf-8", "surrogateescape") + b"\n"
