"""What could come next on a line, and what is wrong with it so far: pure functions of the line and the click commands.

    "get us"       keys that begin with us          "scan --fr"     options
    "sc"           commands                          "tree "         subcommands
    "scan -t "     trees                             "import ro"     files

What a parameter takes is told by its metavar: KEY, FROM TO, NAME, SOURCE, FILE ... A new command needs nothing here.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import click

from lsmcli.repl.grammar import Grammar
from lsmcli.repl.words import LineError, OpenError, Word, word_text, words_of

SUGGESTIONS_MAX: Final = 50
_FILE: Final = re.compile("SOURCE|DEST|SCRIPT|FILE|PATH")
_PREFIXED: Final = re.compile(r"(?:hex|b64|esc|raw|u64be|u32be|i64be):|[@-]")


class Suggestion(NamedTuple):
    """text replaces the last `size` characters before the cursor; meta explains it."""

    text: str
    size: int
    meta: str = ""


class Sources(NamedTuple):
    """Where suggestions come from that the click commands do not know."""

    keys: Callable[[str, str | None], Sequence[str]]  # (beginning, tree) -> words as one types them
    trees: Callable[[], Sequence[str]]
    files: Callable[[str], Sequence[str]]


class Spot(NamedTuple):
    """What is known of the place behind a line: the command, what it expects next, and the word that is begun."""

    command: click.Command | None
    expected: str  # "command", "option", "key", "tree", "file", "choice", "" for anything
    choices: Sequence[str]
    begun: str  # the word as it is typed
    tree: str | None


def kind_of(param: click.Parameter, index: int = 0) -> str:
    """What a parameter takes: "choice", "key", "tree", "file" or ""; index: of a repeated argument."""
    if isinstance(param.type, click.Choice):
        return "choice"
    label = param.metavar or (param.name or "").upper()
    if label.startswith("KEY VALUE"):
        return "key" if index % 2 == 0 else ""
    if "KEY" in label or label == "FROM TO":
        return "key"
    if label == "NAME":
        return "tree"
    if "COMMAND" in label:
        return "command"
    return "file" if _FILE.search(label) else ""


def words_before(text: str) -> tuple[list[Word], str]:
    """The whole words of a line, and the one that is begun at its end, as it is typed."""
    source = text.encode("utf-8", "surrogateescape")
    words: list[Word] = []
    try:
        words.extend(words_of(source))  # as far as it gets
    except OpenError as error:
        return words, source[error.offset :].decode("utf-8", "surrogateescape")
    except LineError:
        return words, ""
    if words and words[-1].end == len(source):
        last = words.pop()
        return words, source[last.start :].decode("utf-8", "surrogateescape")
    return words, ""


def spot_of(text: str, grammar: Grammar) -> Spot:
    """What a line expects at its end."""
    before, begun = words_before(text)
    # What stands before the last | or ; of another command is none of ours.
    words = grammar.expanded([os.fsdecode(word.data) for word in before])
    if any(word.bare and word.data in (b">", b">>") for word in before[-1:]):
        return Spot(None, "file", (), begun, None)
    if any(word.bare and word.data == b"|" for word in before):
        return Spot(None, "", (), begun, None)
    if not words:
        return Spot(None, "command", grammar.list_commands(None), begun, None)
    command, rest = resolved(grammar, words)
    if command is None:
        return Spot(None, "", (), begun, None)
    if isinstance(command, click.Group):
        return Spot(command, "command", list(command.commands), begun, None)
    return spot_in(command, rest, begun, grammar)


def resolved(grammar: Grammar, words: Sequence[str]) -> tuple[click.Command | None, list[str]]:
    """The command that words name, and the words behind its name."""
    command = grammar.get_command(None, words[0])
    rest = list(words[1:])
    while isinstance(command, click.Group) and rest:
        command = command.commands.get(rest.pop(0))
    return command, rest


def spot_in(command: click.Command, rest: Sequence[str], begun: str, grammar: Grammar) -> Spot:
    """What a command expects behind the words it has."""
    tree = None
    options = {name: param for param in command.params for name in param.opts if isinstance(param, click.Option)}
    arguments = [param for param in command.params if isinstance(param, click.Argument)]
    waiting: list[click.Parameter] = []
    count = 0
    only_arguments = False
    for word in rest:
        if waiting:
            param = waiting.pop()
            tree = word if param.name == "tree_name" else tree
        elif word == "--" and not only_arguments:
            only_arguments = True
        elif word.startswith("-") and len(word) > 1 and not only_arguments:
            option = options.get(word)
            waiting = [option] * option.nargs if isinstance(option, click.Option) and not option.is_flag else []
        else:
            count += 1
    if waiting:
        return spot_for(command, waiting[-1], 0, begun, tree)
    if begun.startswith("-") and not only_arguments:
        names = [name for name, param in options.items() if name.startswith("--") and name not in rest]
        return Spot(command, "option", names, begun, tree)
    if not arguments:
        return Spot(command, "option", [name for name in options if name.startswith("--")], begun, tree)
    index = min(count, len(arguments) - 1)
    argument = arguments[index]
    if count > index and argument.nargs == 1:
        return Spot(command, "", (), begun, tree)
    spot = spot_for(command, argument, count - index, begun, tree)
    if spot.expected == "command":
        return spot._replace(choices=grammar.list_commands(None))
    return spot


def spot_for(command: click.Command, param: click.Parameter, index: int, begun: str, tree: str | None) -> Spot:
    """What one parameter expects."""
    choices = tuple(map(str, param.type.choices)) if isinstance(param.type, click.Choice) else ()
    return Spot(command, kind_of(param, index), choices, begun, tree)


def suggest(text: str, grammar: Grammar, sources: Sources) -> Iterator[Suggestion]:
    """What could complete a line at its end, at most SUGGESTIONS_MAX."""
    spot = spot_of(text, grammar)
    found: Sequence[str]
    if spot.expected == "key":
        found = sources.keys(spot.begun, spot.tree)
    elif spot.expected == "tree":
        found = [name for name in sources.trees() if name.startswith(spot.begun)]
    elif spot.expected == "file":
        found = sources.files(spot.begun)
    else:
        found = [name for name in spot.choices if name.startswith(spot.begun.lower())]
    for name in found[:SUGGESTIONS_MAX]:
        yield Suggestion(name, len(spot.begun), meta_of(name, spot, grammar))


def meta_of(name: str, spot: Spot, grammar: Grammar) -> str:
    """One line about a suggestion: of a command or of an option."""
    if spot.expected == "command":
        if isinstance(spot.command, click.Group) and name in spot.command.commands:
            return spot.command.commands[name].get_short_help_str(60)
        return grammar.table[name][1] if name in grammar.table else ""
    if spot.expected == "option" and spot.command is not None:
        for param in spot.command.params:
            if isinstance(param, click.Option) and name in param.opts:
                return param.help or ""
    return ""


def hint(text: str, grammar: Grammar) -> str:
    """How the command that is typed is used, and what it does, in one line; "" while none is known."""
    before, _ = words_before(text)
    words = grammar.expanded([os.fsdecode(word.data) for word in before])
    if not words:
        return ""
    command, rest = resolved(grammar, words)
    if command is None:
        return ""
    names = words[: len(words) - len(rest)]
    usage = " ".join([*names, *command.collect_usage_pieces(click.Context(command))])
    return f"{usage}   {command.get_short_help_str(200)}"


# --- marks --------------------------------------------------------------------------------------------------------


class Part(NamedTuple):
    """A part of a line and what it is: command, option, string, operator, comment, error, or "" for a plain word."""

    kind: str
    text: str


def highlight(text: str, grammar: Grammar) -> list[Part]:
    """A line in parts, which together are the line: what is wrong with it is an error before it runs."""
    source = text.encode("utf-8", "surrogateescape")
    words: list[Word] = []
    open_at = None
    try:
        words.extend(words_of(source))  # as far as it gets
    except LineError as error:
        open_at = max(error.offset, words[-1].end if words else 0)
    kinds = kinds_of(words, grammar, ends_open=bool(words) and words[-1].end == len(source))
    parts: list[Part] = []
    at = 0
    for word, kind in zip(words, kinds, strict=True):
        parts += [Part("comment" if b"#" in source[at : word.start] else "", decoded(source[at : word.start]))]
        parts += [Part(kind, decoded(source[word.start : word.end]))]
        at = word.end
    if open_at is not None:
        parts += [Part("", decoded(source[at:open_at])), Part("error", decoded(source[open_at:]))]
    else:
        parts += [Part("comment" if b"#" in source[at:] else "", decoded(source[at:]))]
    return [part for part in parts if part.text]


def decoded(source: bytes) -> str:
    """A part of a line as text again."""
    return source.decode("utf-8", "surrogateescape")


def kinds_of(words: Sequence[Word], grammar: Grammar, *, ends_open: bool) -> list[str]:
    """The kind of each word. ends_open: the last word is still being typed, so its beginning may be right."""
    texts = [os.fsdecode(word.data) for word in words]
    kinds = []
    command: click.Command | None = None
    waiting: click.Option | None = None
    only_arguments = False
    for index, (word, text) in enumerate(zip(words, texts, strict=True)):
        typed = ends_open and index == len(words) - 1
        if word.bare and (word.data in (b"|", b">", b">>") or text.startswith("<<")):
            kinds.append("operator")
            waiting = None
        elif index == 0:
            expanded = grammar.expanded([text])
            command, _ = resolved(grammar, expanded)
            begins = any(name.startswith(text.lower()) for name in [*grammar.table, *grammar.aliases])
            kinds.append("command" if command is not None else "" if typed and begins else "error")
        elif isinstance(command, click.Group) and not text.startswith("-"):
            known = command.commands
            begins = any(name.startswith(text) for name in known)
            command = known.get(text)
            kinds.append("command" if command is not None else "" if typed and begins else "error")
        elif waiting is not None:
            kinds.append(value_kind(waiting, word, text, typed=typed))
            waiting = None
        elif command is not None and word.bare and text.startswith("-") and len(text) > 1 and not only_arguments:
            only_arguments = text == "--"
            kind, waiting = option_kind(command, text, typed=typed)
            kinds.append(kind)
        else:
            kinds.append("" if word.bare else "string")
    return kinds


def option_kind(command: click.Command, text: str, *, typed: bool) -> tuple[str, click.Option | None]:
    """The kind of a word that begins with -, and the option that waits for its value behind it."""
    if text == "--" or command.ignore_unknown_options:
        return "option", None
    name, equals, _ = text.partition("=")
    names = {name: param for param in command.params if isinstance(param, click.Option) for name in param.opts}
    param = names.get(name)
    if param is None and not text.startswith("--"):
        param = names.get(text[:2])
        if param is not None:
            return "option", None
    if param is None:
        return ("" if typed and any(known.startswith(text) for known in names) else "error"), None
    return "option", None if param.is_flag or equals else param


def value_kind(option: click.Option, word: Word, text: str, *, typed: bool) -> str:
    """The kind of the value of an option."""
    if isinstance(option.type, click.Choice):
        choices = list(map(str, option.type.choices))
        if text not in choices and not (typed and any(choice.startswith(text) for choice in choices)):
            return "error"
    return "" if word.bare else "string"


# --- keys ---------------------------------------------------------------------------------------------------------


def typed_bytes(begun: str) -> bytes:
    """The bytes that a word which is begun stands for: quotes may still be open."""
    source = begun.encode("utf-8", "surrogateescape")
    for ending in (b"", b'"', b"'"):
        try:
            words = list(words_of(source + ending))
        except LineError:
            continue
        data = words[0].data if words else b""
        return data.removeprefix(b"raw:")
    return b""


def key_word(key: bytes) -> str:
    """A key as one types it."""
    text = word_text(key).decode()
    if text.startswith("-"):
        text = f"raw:{text}"
    return f"raw:{text}" if _PREFIXED.match(text) and not text.startswith("raw:") else text
