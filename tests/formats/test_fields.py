"""Columns become keys and values: what is chosen is taken, nothing is dropped unasked, and no header is guessed."""

from typing import Any

import pytest

from lsmcli.formats import InputError
from lsmcli.formats.esc import TextError
from lsmcli.formats.fields import template_parts
from lsmcli.formats.rows import ReadOptions
from tests.formats.streams import error_of, pairs_read, read_with_bad

TABLE = b"id,name,age\n7,Ann,30\n8,Bob,\n"


def choose(**options: Any) -> list[tuple[bytes, bytes | None]]:
    found = pairs_read("csv", TABLE, ReadOptions(**options))
    assert pairs_read("tsv", TABLE.replace(b",", b"\t"), ReadOptions(**options)) == found
    return found


@pytest.mark.parametrize(
    ("options", "first"),
    [
        ({"key": "id"}, (b"7", b'{"name":"Ann","age":"30"}')),
        ({"key": "1"}, (b"7", b'{"name":"Ann","age":"30"}')),
        ({"key": "name", "value": "age"}, (b"Ann", b"30")),
        ({"key": "id", "value": "*"}, (b"7", b'{"id":"7","name":"Ann","age":"30"}')),
        ({"value": "name"}, (b"7", b"Ann")),
        ({"key": "id", "value": "id"}, (b"7", b"7")),
        ({"key_template": "{name}/{id}"}, (b"Ann/7", b"30")),
        ({"key_template": "user/{id}"}, (b"user/7", b'{"name":"Ann","age":"30"}')),
        ({"key_template": "{{{1}}}", "value": "3"}, (b"{id}", b"age")),
        ({"key": "1", "value": "3"}, (b"id", b"age")),
        ({"key": "1", "value": "3", "header": True}, (b"7", b"30")),
        ({"key": "c", "value": "a", "columns": ["a", "b", "c"]}, (b"age", b"id")),
        ({"key": "b", "columns": ["a", "b", "c"], "header": True}, (b"Ann", b'{"a":"7","c":"30"}')),
    ],
)
def test_what_is_chosen_is_taken(options: dict[str, Any], first: tuple[bytes, bytes]) -> None:
    if first[0] == b"age":
        with pytest.raises(InputError, match="the key is empty"):  # Bob has no age
            choose(**options)
        return
    assert choose(**options)[0] == first


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "3 columns"),
        ({"key": "mail"}, "no column 'mail': there are 'id', 'name', 'age'"),
        ({"key": "4", "value": "1"}, "no column '4': there are 1 to 3"),
        ({"key": "0", "value": "1"}, "no column '0'"),
        ({"key": "id", "key_template": "{id}"}, "exclude each other"),
        ({"key_template": "{id"}, "the key template is not valid"),
        ({"key_template": "{}", "value": "1"}, "names in braces"),
        ({"key_template": "{id:3}"}, "names in braces"),
        ({"key_template": "{id!r}"}, "names in braces"),
        ({"key_template": "all the same"}, "names no column"),
        ({"key_template": "{id}{name}{age}"}, "no column is left"),
        ({"key_template": "{id}", "encoding": "base64"}, "not for a key template"),
        ({"key": "id", "encoding": "base64"}, "not for an object"),
        ({"columns": ["a", "b"]}, "3 fields, but 2 names"),
        ({"columns": ["a", "b", "a"], "key": "a"}, "'a' occurs twice"),
        ({"key": "1", "header": False}, "2 columns without names"),
    ],
)
def test_what_does_not_fit_is_said_before_any_row_is_taken(options: dict[str, Any], reason: str) -> None:
    for name, text in (("csv", TABLE), ("tsv", TABLE.replace(b",", b"\t"))):
        if name == "tsv" and not options:
            continue  # without options a row of tsv has two fields
        with pytest.raises(InputError, match=reason) as error:
            pairs_read(name, text, ReadOptions(**options))
        assert error.value.line == 1


def test_a_name_that_occurs_twice_is_refused_where_it_is() -> None:
    for name, text in (("csv", b"id,x,id\n1,2,3\n"), ("tsv", b"id\tx\tid\n1\t2\t3\n")):
        error = error_of(name, text, ReadOptions(key="id"))
        assert (error.reason, error.line, error.column) == ("the column name 'id' occurs twice", 1, 6)


def test_a_header_is_only_where_it_must_be() -> None:
    text = b"id,name\n7,Ann\n"
    assert pairs_read("csv", text) == [(b"id", b"name"), (b"7", b"Ann")]
    assert pairs_read("csv", text, ReadOptions(header=True)) == [(b"7", b"Ann")]
    assert pairs_read("csv", text, ReadOptions(key="name")) == [(b"Ann", b"7")]
    text = b"key,value\na,1\n"
    assert pairs_read("csv", text) == [(b"a", b"1")]
    assert pairs_read("csv", text, ReadOptions(header=False)) == [(b"key", b"value"), (b"a", b"1")]
    # In tsv, which scan writes without a header, this is a row like any other.
    assert pairs_read("tsv", b"key\tvalue\na\t1\n") == [(b"key", b"value"), (b"a", b"1")]


def test_fields_that_are_no_text_become_base64_in_an_object() -> None:
    text = b'id,x,y\n1,\xff,"a ""b""\n"\n'
    assert pairs_read("csv", text, ReadOptions(key="id")) == [
        (b"1", b'{"x":{"$base64": true, "encoded": "/w=="},"y":"a \\"b\\"\\n"}')
    ]


def test_values_as_json_are_checked_and_stored_compactly() -> None:
    text = b'a,"{""x"": [1.10, 2]}"\nb,5\nc,text\n'
    found, bad = read_with_bad("csv", text, ReadOptions(value_format="json"))
    assert found == [(b"a", b'{"x":[1.10,2]}'), (b"b", b"5")]
    assert [(row.line, row.column, row.raw) for row in bad] == [(3, 3, b"c,text")]


def test_base64_is_decoded_and_what_is_none_is_a_bad_row() -> None:
    found, bad = read_with_bad("csv", b"key_b64,value_b64\nYQ==,MQ==\nYQ==,MQ=\n")
    assert found == [(b"a", b"1")]
    assert (bad[0].line, bad[0].column, bad[0].reason) == (3, 6, "the field is not base64")
    assert pairs_read("tsv", b"YQ==\tMQ==\n", ReadOptions(encoding="base64")) == [(b"a", b"1")]


def test_ragged_rows_of_many_columns_are_bad_in_both_formats() -> None:
    for name, mark in (("csv", b","), ("tsv", b"\t")):
        found, bad = read_with_bad(
            name, TABLE.replace(b",", mark) + mark.join([b"9", b"Cy"]) + b"\n", ReadOptions(key="id")
        )
        assert len(found) == 2
        assert (bad[0].line, bad[0].column, bad[0].reason) == (4, 5, "2 fields instead of 3")


@pytest.mark.parametrize(
    ("template", "parts"),
    [
        ("{country}/{id}", [("", "country"), ("/", "id")]),
        ("user:{id}.", [("user:", "id"), (".", None)]),
        ("{{{a b}}}", [("{", None), ("", "a b"), ("}", None)]),
    ],
)
def test_a_template_is_text_and_names(template: str, parts: list[tuple[str, str | None]]) -> None:
    assert template_parts(template) == parts


@pytest.mark.parametrize("template", ["", "x", "{", "}", "{}", "{a}{", "{a:>3}", "{a!s}"])
def test_what_is_no_template_is_refused(template: str) -> None:
    with pytest.raises(TextError, match="template"):
        template_parts(template)
