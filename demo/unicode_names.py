"""Write every named character of Unicode as JSON lines that `lsmcli FILE import` reads.

The data is the standard library's `unicodedata`: real, some 34,000 entries, and on every machine. One line an entry:

    {"key": "U+1F600", "value": "{\"name\": \"GRINNING FACE\", \"category\": \"So\", \"bidirectional\": \"ON\"}"}

Invariants:
- lines come in code point order, which is not key order: U+10000 sorts before U+2000, so the import has to sort;
- a value is the text of a JSON object, since a value is bytes to the database and means something to its user only.
"""

import json
import sys
import unicodedata
from collections.abc import Iterator

CODE_POINT_FIRST = 0x20
CODE_POINT_LAST = 0x10FFFF

# Most names only repeat the code point (CJK UNIFIED IDEOGRAPH-4E00) or spell a syllable; leaving these
# three out keeps a third of the characters and nearly all of the names worth reading.
PREFIXES_SKIPPED = ("CJK UNIFIED IDEOGRAPH-", "HANGUL SYLLABLE ", "CJK COMPATIBILITY IDEOGRAPH-")


def describe(character: str) -> dict[str, str | float] | None:
    """What Unicode says about one character; None when it has no name, or one that is left out."""
    name = unicodedata.name(character, "")
    if not name or name.startswith(PREFIXES_SKIPPED):
        return None
    description: dict[str, str | float] = {
        "name": name,
        "category": unicodedata.category(character),
        "bidirectional": unicodedata.bidirectional(character),
    }
    number = unicodedata.numeric(character, None)
    if number is not None:
        description["numeric"] = number
    return description


def lines() -> Iterator[str]:
    """The lines of the export, each with its end."""
    for code_point in range(CODE_POINT_FIRST, CODE_POINT_LAST + 1):
        description = describe(chr(code_point))
        if description is not None:
            yield json.dumps({"key": f"U+{code_point:04X}", "value": json.dumps(description)}) + "\n"


if __name__ == "__main__":
    sys.stdout.writelines(lines())
