"""Pages behave as a bytearray does, whatever is written, and a copy never sees what the original does later."""

import random

from tests.testing.pages import PAGE_SIZE, Pages


def test_pages_equal_a_bytearray(rng: random.Random) -> None:
    for _ in range(60):
        pages, plain = Pages(), bytearray()
        copies: list[tuple[Pages, bytes]] = []
        for _ in range(40):
            offset = rng.choice((0, 1, PAGE_SIZE - 1, PAGE_SIZE, rng.randrange(3 * PAGE_SIZE)))
            size = rng.choice((0, 1, 512, PAGE_SIZE, PAGE_SIZE + 3, rng.randrange(3 * PAGE_SIZE)))
            if rng.random() < 0.3:
                pages.resize(size)
                del plain[size:]
                plain.extend(bytes(size - len(plain)))
            elif size:
                data = rng.randbytes(size)
                pages.write(offset, data)
                plain.extend(bytes(max(0, offset + size - len(plain))))
                plain[offset : offset + size] = data
            assert pages == plain and len(pages) == len(plain)
            assert pages.read(offset, size) == plain[offset : offset + size] == pages[offset : offset + size]
            assert pages == Pages(plain) and pages.key() == Pages(plain).key()
            copies.append((Pages(pages), bytes(plain)))
        for copy, kept in copies:
            assert copy == kept
