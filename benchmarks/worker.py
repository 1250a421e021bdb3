"""One engine in a process of its own: it does one workload at a time, when it is told to, and answers with figures.

    parent     {"workload": "readrandom", "wants": "compacted", "stamped": false}    a line of JSON on standard input
    worker     {"us": 1.9, "operations": 1000000, ...}                               a line on standard output

Before a workload the store is brought into the state that it wants:

    empty       a new store                 loaded      every entry is in it, however it came there
    raw         loaded and not compacted since          compacted

After a workload the worker waits until its own threads are idle, so that the engine whose turn is next has the machine
for itself. That waiting is not timed, which is to the favour of engines that work in the background.
"""

import gc
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.engines import ENGINES
from lsmcli.benchmark.data import Data
from lsmcli.benchmark.workbench import Measurement, Workbench
from lsmcli.benchmark.workloads import WORKLOADS

IDLE_S_MAX = 60.0
OPENS = 7
WRITTEN_SYNCED = 1 << 20


class Scale(NamedTuple):
    """How much of what: the same for all engines of a run."""

    entries: int
    key_size: int
    value_size: int
    seed: int
    operations_max: int


class Worker:
    """The store of one engine, and in which state it is."""

    def __init__(self, engine: str, path: str, scale: Scale) -> None:
        self.path = path
        self.data = Data(scale.entries, scale.key_size, scale.value_size, scale.seed)
        gc.freeze()
        self.memory_before = memory_now("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
        self.store = ENGINES[engine].store(path)
        self.bench = Workbench(self.store, self.data, operations_max=scale.operations_max)
        self.loaded = self.compacted = False

    def empty(self) -> None:
        """A new store in place of this one."""
        self.bench.clear()
        self.loaded = self.compacted = False

    def prepare(self, wants: str) -> None:
        """Bring the store into a state, if it is in another."""
        if wants == "empty" or (wants == "raw" and self.compacted) or not self.loaded:
            self.empty()
        if wants != "empty" and not self.loaded:
            self.bench.measure(WORKLOADS["fillbatch"].run)
            self.loaded = True
        if wants == "compacted" and not self.compacted:
            self.compact()

    def compact(self) -> Measurement:
        """Compaction, timed."""
        measurement = self.bench.measure(WORKLOADS["compact"].run)
        self.compacted = True
        return measurement

    def run(self, workload: str, wants: str, stamped: bool) -> dict[str, Any]:
        """One workload and what it took. Sizes in bytes; cpu_us: of all threads, also of what they did afterwards."""
        self.prepare(wants)
        wait_until_idle()
        written, cpu_s = written_now(), time.process_time()
        if workload == "open":
            return self.opens()
        if workload == "compact":
            measured = self.compact()
        else:
            measured = self.bench.measure(WORKLOADS[workload].run, stamped=stamped)
            if WORKLOADS[workload].fills:
                self.loaded = True
            if WORKLOADS[workload].fills or workload in ("overwrite", "deleterandom") or workload.startswith("ycsb"):
                self.compacted = False
        wait_until_idle()
        cpu_s, written = time.process_time() - cpu_s, written_now() - written
        if written > WRITTEN_SYNCED:
            os.sync()  # what this engine has left to the system is not for the next one to wait for
        if WORKLOADS[workload].fills and workload != "fillrandom":
            self.bench.verify()
        return {
            "us": measured.us_per_operation,
            "operations": measured.operations,
            "cpu_us": cpu_s * 1e6 / measured.operations,
            "bytes_written": written,
            "bytes_put": measured.size,
            "file_size": file_size(self.path),
            "data_size": self.data.stored_count() * self.data.entry_size,
            **({"put_us": measured.put_us, "refresh_us": measured.refresh_us} if measured.put_us else {}),
            **{
                f"p{percent:g}_us": measured.latencies.percentile_us(percent)
                for percent in (50, 99, 99.9, 100)
                if stamped
            },
        }

    def opens(self) -> dict[str, Any]:
        """Opening the store and getting one key, which proves that it is open. The median of some."""
        times = []
        for number in self.data.order[:OPENS]:
            self.store.close()
            began = time.perf_counter()
            self.bench.calls = self.store.open()
            found = self.bench.calls.get(self.data.keys([2 * number])[0])
            times.append(time.perf_counter() - began)
            assert found == self.data.value(2 * number)
        return {"us": statistics.median(times) * 1e6, "operations": OPENS}

    def finish(self) -> dict[str, Any]:
        """Verify, close and remove. memory_mib: the peak since the data of the benchmark were there."""
        self.bench.verify()
        peak = memory_now("VmHWM") - self.memory_before
        self.store.close()
        return {"memory_mib": peak / 1024}


def memory_now(name: str) -> int:
    """A figure about this process's memory, in KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise LookupError(name)


def written_now() -> int:
    """Bytes that this process has given to write calls so far (wchar). What goes through a mapping is not in it."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["wchar"])


def file_size(path: str) -> int:
    """Of a file with its companions, or of all files of a directory, in bytes."""
    found = list(Path(path).parent.glob(Path(path).name + "*"))
    files = [file for each in found for file in ([each] if each.is_file() else each.rglob("*"))]
    return sum(file.stat().st_size for file in files if file.is_file())


def wait_until_idle() -> None:
    """Return once the threads of this process have done next to nothing for a tenth of a second."""
    end_s = time.monotonic() + IDLE_S_MAX
    while time.monotonic() < end_s:
        cpu_s = time.process_time()
        time.sleep(0.1)
        if time.process_time() - cpu_s < 0.005:
            return


def main() -> None:
    """Serve the parent until it closes standard input."""
    engine, path, scale = sys.argv[1], sys.argv[2], Scale(**json.loads(sys.argv[3]))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not stand between answers
    worker = Worker(engine, path, scale)
    for line in sys.stdin:
        asked = json.loads(line)
        answer = worker.finish() if asked["workload"] == "finish" else worker.run(**asked)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
