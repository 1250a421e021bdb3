"""Options and fixtures that all tests share.

    pytest --seed 7        another run of the seeded tests; the seed stands in the header and beside every failure
    pytest --rewrite       tests that compare with a file write it anew instead; review the difference

Invariants:
- a test that wants chance takes `rng` or `seed`, never the clock: one number replays it;
- `rng` depends on the seed and on the test's own name, so that a test alone draws what it drew among others.
"""

import random
import signal
from collections.abc import Generator

import hypothesis
import pytest

SEED_DEFAULT = 20_011_003

# Examples are drawn from the test itself, so that two runs, or two workers, see the same ones; machines that are
# shared miss deadlines for no fault of the code; no directory of examples is left behind.
hypothesis.settings.register_profile("steady", deadline=None, derandomize=True, database=None, print_blob=True)
hypothesis.settings.load_profile("steady")

# A shell starts what it runs in the background with interrupts ignored, and children inherit that: the tests of
# Ctrl-C want it as a person at a terminal has it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("lsmcli")
    group.addoption("--seed", type=int, default=SEED_DEFAULT, help="seed of the random tests (default: %(default)s)")
    group.addoption("--rewrite", action="store_true", help="write files that tests compare with, instead of comparing")


def pytest_report_header(config: pytest.Config) -> str:
    return f"seed: {config.getoption('--seed')}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Beside each failure: the command that runs it again."""
    report = yield
    if report.failed:
        report.sections.append(("replay", f"pytest '{item.nodeid}' --seed {item.config.getoption('--seed')}"))
    return report


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The run's seed, for tests that derive many from it."""
    value = request.config.getoption("--seed")
    assert isinstance(value, int)
    return value


@pytest.fixture
def rng(request: pytest.FixtureRequest, seed: int) -> random.Random:
    """A source of chance of the test's own."""
    return random.Random(f"{seed}/{request.node.nodeid}")


@pytest.fixture
def rewrite(request: pytest.FixtureRequest) -> bool:
    """Whether files that a test compares with are to be written anew."""
    return bool(request.config.getoption("--rewrite"))
