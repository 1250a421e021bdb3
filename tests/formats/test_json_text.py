"""JSON texts: kept as they were found, refused where a reader would make something else of them."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsmcli.formats.esc import TextError
from lsmcli.formats.json_text import bytes_of, compact, embedded, members_of, object_text, text_of

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60)
@given(VALUES, st.sampled_from([None, 1, 3]), st.booleans())
def test_a_text_loses_only_its_white_space(value: Any, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    tight = json.dumps(value, separators=(",", ":"), ensure_ascii=ascii_only).encode()
    assert compact(text) == tight
    assert json.loads(embedded(text, ascii_only=True)) == value
    assert embedded(text, ascii_only=True).isascii()


@settings(max_examples=60)
@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=5), st.sampled_from([None, 2]))
def test_an_object_is_taken_apart_and_put_together(value: dict[str, Any], indent: int | None) -> None:
    text, members = members_of(b" " + json.dumps(value, indent=indent).encode() + b"\r\n")
    assert {name: member.value for name, member in members.items()} == value
    assert all(json.loads(text[member.start : member.end]) == member.value for member in members.values())
    assert json.loads(object_text(text, members, list(members))) == value
    assert " " not in object_text(text, {}, [])


@pytest.mark.parametrize(
    "text",
    [b"1.10", b"1e5", b"-0", b"0.1000000000000000055511151231257827", b'"\\u00e9"', b"9" * 4000, b'"\\ud83d\\ude00"'],
)
def test_numbers_and_escapes_stay_as_they_are_written(text: bytes) -> None:
    assert compact(b" " + text + b"\n") == text
    assert compact(b'[{ "a b" : ' + text + b" } ]") == b'[{"a b":' + text + b"}]"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[1,]", "not JSON"),
        (b"01", "not JSON"),
        (b"1 2", "not JSON"),
        (b"'a'", "not JSON"),
        (b'"a\tb"', "not JSON"),
        (b"NaN", "NaN is not JSON"),
        (b"[-Infinity]", "Infinity is not JSON"),
        (b"1e999", "beyond the largest double"),
        (b"-1e999", "beyond the largest double"),
        (b"9" * 5000, "too many digits"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"a":1,"a":2}', "occurs twice"),
        (b'[{"x":{"a":1,"a":2}}]', "occurs twice"),
        (b'"\\ud800"', "half of a surrogate pair"),
        (b'["\\ude00\\ud83d"]', "half of a surrogate pair"),
        (b'"\xff"', "not UTF-8"),
    ],
)
def test_what_is_not_strict_is_refused(text: bytes, reason: str) -> None:
    with pytest.raises(TextError, match=reason):
        compact(text)
    with pytest.raises(TextError, match=reason):
        members_of(b'{"a b":' + text + b"}")


@given(st.binary(max_size=20))
def test_any_bytes_are_a_json_text_and_come_back(data: bytes) -> None:
    for ascii_only in (False, True):
        assert bytes_of(json.loads(text_of(data, ascii_only=ascii_only)), "it") == data


@pytest.mark.parametrize(
    "item",
    [5, None, True, [], {}, {"$base64": True}, {"$base64": 1, "encoded": ""}, {"$base64": True, "encoded": "AP8"},
     {"$base64": True, "encoded": "A===" }, {"$base64": True, "encoded": "YQ==", "more": 1}, "\ud800"],
)  # fmt: skip
def test_what_stands_for_no_bytes_is_refused(item: Any) -> None:
    with pytest.raises(TextError):
        bytes_of(item, "it")
