"""Runs the fault matrix for as long as it is told, on all cores that it is given.

    python -m tests.simulation.torture [--minutes 60] [--jobs 2] [--seed WORD] [--class N ...]
    python -m tests.simulation.torture --replay CLASS:SEED:CASE

Prints a table: class, rounds, cases, violations, CPU seconds; the rare situations that were met, each with how often;
and for each violation one line that replays it. Exits with 1 when there was a violation, a class had no case, or a
long run has not met a situation that a class names.

Invariants:
- every class gets the same share of the time: the next round is of the class that has had least, where one that has
  situations left to meet may have eight times as much;
- a round ends when the time is up; what it did until then counts;
- seeds derive from --seed, which is the commit unless given: two runs of one commit begin alike.
"""

import argparse
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from tests.simulation import seeds
from tests.simulation.matrix import FaultClass, load_classes
from tests.testing.trial import Result, Trial, Violation, run_trial

_VIOLATIONS_SHOWN_MAX = 20
_SHARE_MISSING = 8  # of a class with situations left to meet: rounds of some take a minute
_MINUTES_FOR_SITUATIONS = 20  # a shorter run may miss one by chance

Task = tuple[int, int, float]  # class, seed, deadline


class Worker:
    """One process that runs rounds."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("fork")
        self.connection, other = context.Pipe()
        self.process: BaseProcess = context.Process(target=_work, args=(other,), daemon=True)
        self.process.start()
        other.close()
        self.task: Task | None = None

    def give(self, task: Task) -> None:
        self.task = task
        self.connection.send(task)

    def result(self) -> Result:
        """What the task came to; a process that died has violated something."""
        assert self.task is not None
        number, seed, _ = self.task
        self.task = None
        try:
            found = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            text = f"the process of the round ended with exit code {self.process.exitcode}"
            return Result(number, 0, Counter(), Violation(number, seed, -1, "", text, text), 0.0)
        assert isinstance(found, Result)
        return found

    def end(self) -> None:
        self.connection.send(None)  # no closed pipe would tell it: workers inherit each other's ends
        self.process.join()


def _work(connection: Connection) -> None:
    classes = load_classes()
    while True:
        task: Task | None = connection.recv()
        if task is None:
            return
        number, seed, deadline_s = task
        fault_class = classes[number]
        trial = Trial(number, seed, seed % (fault_class.rounds or 1), deadline_s=deadline_s)
        connection.send(run_trial(fault_class.run, trial))


class Tally:
    """What has been run so far."""

    def __init__(self, classes: dict[int, FaultClass]) -> None:
        self.classes = classes
        self.rounds: Counter[int] = Counter()
        self.cases: Counter[int] = Counter()
        self.seconds: dict[int, float] = dict.fromkeys(classes, 0.0)
        self.under_way: Counter[int] = Counter()
        self.marks: Counter[tuple[int, str]] = Counter()
        self.violations: list[Violation] = []

    def next_round(self, base: str) -> tuple[int, int]:
        """Class and seed of the round to run next."""
        shares = dict.fromkeys(self.classes, 1) | {number: _SHARE_MISSING for number, _ in self.never_met()}
        number = min(
            self.classes, key=lambda each: ((self.seconds[each] + 5 * self.under_way[each]) / shares[each], each)
        )
        self.under_way[number] += 1
        round_ = self.rounds[number]
        self.rounds[number] += 1
        return number, seeds.seed_of_round(base, number, round_, self.classes[number].rounds)

    def add(self, result: Result) -> None:
        self.under_way[result.number] -= 1
        self.cases[result.number] += result.cases
        self.seconds[result.number] += max(result.seconds, 0.01)
        self.marks.update({(result.number, mark): count for mark, count in result.marks.items()})
        if result.violation is not None:
            self.violations.append(result.violation)

    def never_met(self) -> list[tuple[int, str]]:
        """Class and name of each situation that should have been met, and was not."""
        return [
            (number, situation)
            for number, fault_class in self.classes.items()
            for situation in fault_class.situations
            if not self.marks[number, situation]
        ]

    def table(self) -> list[str]:
        """The lines to print."""
        violations = Counter(violation.number for violation in self.violations)
        marks = Counter(number for number, _ in self.marks)
        lines = [
            f"{'class':>5}  {'':24} {'rounds':>9} {'cases':>11} {'violations':>10} {'situations':>10} {'CPU s':>8}"
        ]
        for number, fault_class in self.classes.items():
            lines.append(
                f"{number:5}  {fault_class.name:24} {self.rounds[number]:9,} {self.cases[number]:11,} "
                f"{violations[number]:10} {marks[number]:10} {self.seconds[number]:8.1f}"
            )
        lines.append(
            f"{'':5}  {'all':24} {self.rounds.total():9,} {self.cases.total():11,} "
            f"{len(self.violations):10} {len(self.marks):10} {sum(self.seconds.values()):8.1f}"
        )
        return lines


def torture(classes: dict[int, FaultClass], base: str, minutes: float, jobs: int) -> Tally:
    """Runs rounds until the time is up."""
    tally = Tally(classes)
    deadline_s = time.monotonic() + 60 * minutes
    workers = [Worker() for _ in range(jobs)]
    for worker in workers:
        worker.give((*tally.next_round(base), deadline_s))
    while busy := {worker.connection: worker for worker in workers if worker.task is not None}:
        for connection in wait(list(busy)):
            assert isinstance(connection, Connection)
            worker = busy[connection]
            result = worker.result()
            tally.add(result)
            if result.violation is not None:
                _print_violation(result.violation, base)
                if result.violation.case < 0:
                    workers[workers.index(worker)] = worker = Worker()
            if time.monotonic() < deadline_s:
                worker.give((*tally.next_round(base), deadline_s))
    for worker in workers:
        worker.end()
    return tally


def _print_violation(violation: Violation, base: str) -> None:
    _print(
        f"VIOLATION commit {seeds.commit()[:12]} replay {violation.replay} (from {base[:12]}): "
        f"{violation.label}: {violation.error:.400}"
    )


def replay(classes: dict[int, FaultClass], text: str) -> Result:
    """Runs exactly one case again."""
    number, seed, case = seeds.parse_replay(text)
    fault_class = classes[number]
    trial = Trial(number, seed, seed % (fault_class.rounds or 1), only=None if case < 0 else case)
    return run_trial(fault_class.run, trial)


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.torture")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", default=seeds.commit())
    parser.add_argument("--class", type=int, action="append", dest="numbers", metavar="N")
    parser.add_argument("--replay", metavar="CLASS:SEED:CASE")
    options = parser.parse_args(arguments)
    classes = load_classes()
    if options.replay:
        result = replay(classes, options.replay)
        if result.violation is not None:
            _print(result.violation.details)
        _print(f"{result.cases} case, {'violated' if result.violation else 'nothing wrong'}")
        return int(result.violation is not None or result.cases == 0)
    if options.numbers:
        classes = {number: classes[number] for number in options.numbers}
    tally = torture(classes, options.seed, options.minutes, options.jobs)
    for line in tally.table():
        _print(line)
    _print("")
    for (number, mark), count in sorted(tally.marks.items()):
        _print(f"{number:5}  {mark:60} {count:11,}")
    for violation in tally.violations[:_VIOLATIONS_SHOWN_MAX]:
        _print_violation(violation, options.seed)
    never_met = tally.never_met() if options.minutes >= _MINUTES_FOR_SITUATIONS else []
    for number, mark in never_met:
        _print(f"{number:5}  {mark:60} NEVER MET")
    return int(bool(tally.violations or never_met) or any(tally.cases[number] == 0 for number in classes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
