"""What the data commands share: options for trees and encodings, and the arguments they make.

`@data_options` hands a command one DataArguments instead of six options: it turns words into bytes, bytes
into output, and opens the tree. All words are checked before the file is opened.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import update_wrapper
from typing import TYPE_CHECKING, Any

import click

from lsmcli.commands.encoding import CODECS, Codec, argument_bytes
from lsmcli.engine.constants import KEY_SIZE_MAX, KEY_SIZE_MIN
from lsmcli.engine.errors import LimitError
from lsmcli.formats.esc import TextError
from lsmcli.session import Session

if TYPE_CHECKING:
    from lsmcli.engine.keyspace import Keyspace

Callback = Callable[..., Any]
FORMAT_CHOICE = click.Choice(list(CODECS))


class DataArguments:
    """The shared options of one data command, and what they mean for its words."""

    def __init__(
        self, session: Session, tree_name: str | None, key: Codec, value: Codec, *, literal: bool, committed: bool
    ) -> None:
        self.session = session
        self.tree_name = tree_name
        self.key_codec = key
        self.value_codec = value
        self.literal = literal
        self.committed = committed
        self._input_taken = False

    def key(self, text: str) -> bytes:
        """The key that a word stands for. UsageError for a bad encoding, LimitError outside the sizes of keys."""
        key = self.bound(text)
        if len(key) < KEY_SIZE_MIN:
            raise LimitError("the key is empty: a key has at least one byte")
        if len(key) > KEY_SIZE_MAX:
            raise LimitError(f"the key has {len(key)} bytes: a key has at most {KEY_SIZE_MAX}")
        return key

    def bound(self, text: str) -> bytes:
        """The bytes that a word stands for as a bound of a range: any length."""
        return self._parse(self.key_codec, text)

    def value(self, text: str) -> bytes:
        """The value that a word stands for: "-" reads standard input, "@path" a file."""
        if self.literal:
            return argument_bytes(text)
        if text != "-" and not text.startswith("@"):
            return self._parse(self.value_codec, text)
        if text == "-":
            if self._input_taken:
                raise click.UsageError("two values are read from standard input: only one can be")
            self._input_taken = True
        else:
            self.session.refuse_outside(text)
        from lsmcli.commands.files import read_value

        return read_value(text)

    def _parse(self, codec: Codec, text: str) -> bytes:
        if self.literal:
            return argument_bytes(text)
        try:
            return codec.parse(text)
        except TextError as error:
            shown = text if len(text) <= 60 else text[:57] + "..."
            raise click.UsageError(f"{error.reason}, at offset {error.offset} of {shown!r}") from None

    def read(self) -> "Keyspace":
        """The tree, opened for reading."""
        return self.session.tree(self.tree_name, committed=self.committed)

    def write(self, *, create: bool = True) -> "Keyspace":
        """The tree, opened for writing; create: make the file if it is missing."""
        return self.session.tree(self.tree_name, write=True, create=create)


def tree_option(function: Callback) -> Callback:
    """-t/--tree behind the command, as it is also accepted before FILE."""
    return click.option("-t", "--tree", "tree_name", metavar="NAME", help="The tree to work on.  [default: main]")(
        function
    )


def committed_option(function: Callback) -> Callback:
    """--committed, for commands that read."""
    return click.option("--committed", is_flag=True, help="Look past an open scope: the state before it began.")(
        function
    )


def json_option(function: Callback) -> Callback:
    """--json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, one object per line.")(function)


def yes_option(function: Callback) -> Callback:
    """-y/--yes, for what cannot be undone."""
    return click.option("-y", "--yes", is_flag=True, help="Do not ask.")(function)


def data_options(*, reads: bool, values: bool = True) -> Callable[[Callback], Callback]:
    """The shared options of a data command; its function gets a DataArguments as first argument.

    reads: the command only reads, so it takes --committed; values: it takes or shows values.
    """

    def decorate(function: Callback) -> Callback:
        @click.pass_obj
        def call(session: Session, /, **options: Any) -> Any:
            as_hex = options.pop("as_hex")
            data = DataArguments(
                session,
                options.pop("tree_name"),
                CODECS["hex" if as_hex else options.pop("key_format", "auto")],
                CODECS["hex" if as_hex else options.get("value_format", "auto")],
                literal=options.pop("literal"),
                committed=options.pop("committed", False),
            )
            options.pop("key_format", None)
            options.pop("value_format", None)
            return function(data, **options)

        wrapped: Callback = update_wrapper(call, function)
        decorators: list[Callable[[Callback], Callback]] = [tree_option]
        if reads:
            decorators.append(committed_option)
        decorators.append(_format_option("key"))
        if values:
            decorators.append(_format_option("value"))
        decorators.append(click.option("-x", "--hex", "as_hex", is_flag=True, help="All formats are hex."))
        decorators.append(click.option("-L", "--literal", is_flag=True, help="Arguments have no prefixes."))
        for decorator in reversed(decorators):
            wrapped = decorator(wrapped)
        return wrapped

    return decorate


def _format_option(name: str) -> Callable[[Callback], Callback]:
    return click.option(
        f"--{name}-format",
        type=FORMAT_CHOICE,
        default="auto",
        show_default=True,
        metavar="FORMAT",
        help=f"How a {name} is written and shown: {', '.join(CODECS)}." if name == "key" else f"The same for a {name}.",
    )


def confirm(session: Session, question: str, yes: bool) -> bool:
    """Whether to go on with something that cannot be undone: --yes, or an answer on a terminal.

    Raises UsageError where nobody can be asked.
    """
    import sys

    if yes:
        return True
    if sys.stdin is None or sys.stderr is None or not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError(f"{question} Add --yes to do it without being asked.")
    return click.confirm(question, err=True)


def write_all(session: Session, pieces: Iterable[bytes]) -> None:
    """Print pieces as they are found: each is out before the next is asked for."""
    out = session.out
    for piece in pieces:
        out.write(piece)
        out.flush()


def shown_pairs(data: DataArguments, pairs: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """Pairs as their formats show them."""
    show_key = data.key_codec.show
    show_value = data.value_codec.show
    for key, value in pairs:
        yield show_key(key), show_value(value)
