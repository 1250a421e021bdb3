"""The names of trees: text, of which two that stand for the same bytes are one.

A program that runs in a locale without UTF-8 gets the bytes of its arguments as lone surrogates; the same name, typed
in another locale, comes as text. The file holds the bytes.
"""

from lsmcli.engine.errors import LimitError


def canonical_name(name: str) -> str:
    """The one name for these bytes, as trees() lists it. LimitError for text that stands for no bytes."""
    try:
        return name.encode(errors="surrogateescape").decode(errors="surrogateescape")
    except UnicodeEncodeError as error:
        raise LimitError(f"{name!r} holds half of a surrogate pair; choose another name for the tree") from error
