# SPDX-License-Identifier: BSD-3-Clause
"""Runs the walk programs on softrdma, and parses their output and traces."""

import fnmatch
import os
import re
import signal
import subprocess
import tempfile
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from differences import Differences

HERE = Path(__file__).resolve().parent

# Seconds after which a program counts as hanging. The original does hang in some places: it gets the shorter limit
# first, and the longer one if a hang is not expected.
LIMIT = 60
ORIGINAL_LIMIT = 5
# The timeout of the walked run for what may not come, and that of a second try after an unexpected outcome: on a
# busy machine it may only have come too late.
PATIENCE_MS = 1000
MORE_PATIENCE_MS = 6000


@dataclass(frozen=True)
class Setting:
    """Capabilities of the device, as settings of softrdma."""

    name: str
    environment: tuple = ()


SETTINGS = [
    Setting("plain"),
    Setting("odp", (("SOFTRDMA_CAPS", "odp"),)),
    Setting("native", (("SOFTRDMA_CAPS", "atomic-write,flush"),)),
    Setting("dax", (("SOFTRDMA_MR_EOPNOTSUPP", "1"),)),
    Setting("dax-odp", (("SOFTRDMA_CAPS", "odp"), ("SOFTRDMA_MR_EOPNOTSUPP", "1"))),
]

# Debian's 1.2.0 never flushes natively, so there would be nothing to compare. 1.3.0 does.
BESIDE_1_2 = Setting("native", (("SOFTRDMA_CAPS", "atomic-write"),))


@dataclass
class Outcome:
    """The outcome of a program."""

    status: Optional[int]  # None: it hung and was killed
    runs: list  # for each run, its lines
    errors: list  # lines on standard error, except those of the leaks and the allocations
    leaks: Counter = field(default_factory=Counter)
    allocations: int = 0
    traces: list = field(default_factory=list)  # for each run, the lines of its trace

    def ended(self):
        """How the program ended; empty on success."""
        if self.status is None:
            return "hangs"
        if self.status < 0:
            return f"ends with signal {-self.status}"
        return f"exit status {self.status}" if self.status else ""

    def run(self, number):
        """The lines of a run, without the parts that differ between runs."""
        lines = self.runs[number] if number < len(self.runs) else []
        return [without_errno(line) for line in lines if not line.startswith("descriptors:")]

    @property
    def trace(self):
        """The calls of the first run."""
        return self.traces[0] if self.traces else []

    def descriptors(self, number):
        """The number of descriptors that a run has left open."""
        lines = self.runs[number] if number < len(self.runs) else []
        return sum(int(line.split()[1]) for line in lines if line.startswith("descriptors:"))


def code_of(line):
    """The code of a step, or None if the line is not a step; and the levels of the messages that it logged."""
    if found := re.search(r" = (\w+)((?:; \w+)*)(?: \[errno \d+\])?$", line):
        return found[1], found[2].split("; ")[1:]
    return None, []


def without_errno(line):
    """The line without errno, which is one of the listed differences and checked elsewhere."""
    return re.sub(r" \[errno \d+\]$", "", line)


@dataclass
class Library:
    """One of the two libraries, and how to run programs with it."""

    directory: Path
    build: Path
    # the release, if it is the original
    release: str = ""

    def environment(self, extra):
        preload = [self.build / "lib/libsoftrdma.so"]
        if "FAIL_ALLOC" in extra:
            preload.append(self.build / "tests-c/walks/libfail-alloc.so")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SOFTRDMA_")}
        return {
            **kept,
            "LD_LIBRARY_PATH": str(self.directory),
            "LD_PRELOAD": ":".join(map(str, preload)),
            "SOFTRDMA_LEAKS": "1",
            **extra,
        }

    def walk(self, program, scenario, *, wrap=(), limit=LIMIT, **extra):
        """Runs a scenario with additional environment variables."""
        if scenario == "no-answer":
            # A client must not wait 102 seconds for a server that does not answer.
            extra["SOFTRDMA_CM_TIMEOUT_MS"] = "500"
        with tempfile.TemporaryDirectory() as work:
            extra["SOFTRDMA_TRACE"] = f"{work}/trace"
            with open(f"{work}/out", "w+b") as out, open(f"{work}/err", "w+b") as err:
                process = subprocess.Popen([*wrap, program, scenario], env=self.environment(extra),
                                           stdin=subprocess.DEVNULL, stdout=out, stderr=err)
                try:
                    status = process.wait(timeout=limit)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                    status = None
                if status == -signal.SIGINT:
                    # run-walks itself is interrupted: not an outcome, and not tried again
                    raise KeyboardInterrupt
                outcome = parse(status, lines_of(out), lines_of(err))
            if os.path.exists(f"{work}/trace"):
                outcome.traces = runs_of(Path(f"{work}/trace").read_text().splitlines())
        return outcome


def lines_of(file):
    file.seek(0)
    return file.read().decode(errors="replace").splitlines()


def runs_of(lines):
    """The lines of each run. A run begins with a line that says so."""
    runs = []
    for line in lines:
        if re.fullmatch(r"run \d", line):
            runs.append([])
        elif runs:
            runs[-1].append(line)
    return runs


def parse(status, out, err):
    outcome = Outcome(status, runs_of(out), [])
    for line in err:
        if found := re.fullmatch(r"softrdma: not destroyed: (.*)", line):
            for item in found[1].split(", "):
                count, kind = item.split(" ")
                outcome.leaks[kind] += int(count)
        elif found := re.fullmatch(r"fail-alloc: (\d+) allocations", line):
            outcome.allocations = int(found[1])
        else:
            outcome.errors.append(line)
    return outcome


# --- Where a call can fail ------------------------------------------------------------------------------

# rdma_destroy_id waits for ever after an event that could not be acknowledged, with any library. By the manual page
# this call has no reason to fail.
NEVER = {"rdma_ack_cm_event"}

# When one of these fails, an object is left behind whatever a library does.
RELEASES = {
    "ibv_dealloc_pd", "ibv_dereg_mr", "ibv_destroy_comp_channel", "ibv_destroy_cq", "ibv_destroy_srq",
    "rdma_destroy_id",
}

# Without an error name, softrdma makes a call fail with its default error.
USUAL = ""
# Errors that the manual pages name, and those that a library may handle specially.
ANY_ERRNO = ["ENOMEM", "EINVAL", "EAGAIN", "EPERM"]
MORE_ERRNOS = {
    "ibv_advise_mr": ["EOPNOTSUPP", "EFAULT", "ENOENT", "ENOSYS", "EINVAL", "EPERM", "ENOMEM"],
    "ibv_alloc_pd": ["EPERM"],
    "ibv_get_cq_event": ["EINTR"],
    "ibv_post_recv": ["EFAULT"],
    "ibv_post_send": ["EFAULT"],
    "ibv_post_srq_recv": ["EFAULT"],
    "ibv_query_device": ["EOPNOTSUPP", "ENOSYS"],
    "ibv_query_device_ex": ["EOPNOTSUPP", "ENOSYS"],
    "ibv_reg_mr": ["EOPNOTSUPP", "EFAULT"],
    "rdma_get_cm_event": ["ENODATA"],
    "rdma_resolve_addr": ["ETIMEDOUT"],
    "rdma_resolve_route": ["ETIMEDOUT"],
}


def calls_that_can_fail(softrdma):
    """The calls that can fail by the list of `softrdma calls`, with the default error of each."""
    listed = subprocess.run([softrdma, "calls"], check=True, capture_output=True, text=True).stdout
    lines = [line.split() for line in listed.splitlines() if "cannot fail" not in line]
    return {name: usual for name, usual, *_ in lines if name not in NEVER}


@dataclass(frozen=True)
class Point:
    """The nth call of a function in a run, and the number of its calls in the run."""

    call: str
    nth: int
    all: int

    def __str__(self):
        return f"{self.call}:{self.nth}"

    def fault(self, errno):
        """The value of SOFTRDMA_FAIL for the second run of a program, which is the walked one."""
        return f"{self.call}:{self.all + self.nth}" + (f":{errno}" if errno else "")


def points_of(trace, calls):
    """For each line of a trace, the point where the call can be made to fail, or None."""
    names = [line.split("(", 1)[0] for line in trace]
    all_of = Counter(names)
    seen = Counter()
    points = []
    for name in names:
        seen[name] += 1
        points.append(Point(name, seen[name], all_of[name]) if name in calls else None)
    return points


def times(number, counter):
    return Counter({kind: number * count for kind, count in counter.items()})


def first_change(clean, lines):
    """The first line in which a run differs from a clean one, or None."""
    for at, line in enumerate(lines):
        if at >= len(clean) or line != clean[at]:
            return at
    return None if len(lines) == len(clean) else len(lines)


# --- All walks ------------------------------------------------------------------------------------------


class Walks:
    """The libraries, settings and results that the modes share."""

    # Calls that softrdma counts and does not trace, since they found nothing.
    SKIPPED = {
        ("completions", "ibv_poll_cq"),
        ("nothing-there", "ibv_get_cq_event"),
        ("nothing-there", "rdma_get_cm_event"),
    }

    def __init__(self, ours, original, options):
        self.ours, self.original, self.options = ours, original, options
        self.differences = Differences(HERE / "differences", HERE / "../../doc/compatibility.md",
                                       original.release if original else "")
        self.settings = SETTINGS
        if original and original.release == "1.2.0":
            self.settings = [BESIDE_1_2 if setting.name == "native" else setting for setting in SETTINGS]
        self.programs = ours.build / "tests-c/walks"
        self.calls = calls_that_can_fail(ours.build / "bin/softrdma")
        self.pool = ThreadPoolExecutor(options.jobs)
        self.problems = 0
        self.tried_again = 0
        self.printing = threading.Lock()

    def scenarios(self, program):
        environment = {**os.environ, "LD_LIBRARY_PATH": str(self.ours.directory)}
        listed = subprocess.run([self.programs / program], env=environment, check=True, capture_output=True,
                                text=True).stdout.split()
        return [name for name in listed if any(fnmatch.fnmatchcase(name, one) for one in self.options.only)]

    def unused_functions(self):
        """The functions of librpma that none of the programs calls."""
        table = (HERE / "../../abi/functions.tsv").read_text().splitlines()
        names = {line.split("\t")[0] for line in table if line.startswith("rpma_")}
        for program in ("walk", "walk-older"):
            symbols = subprocess.run(["nm", "--dynamic", "--undefined-only", self.programs / program], check=True,
                                     capture_output=True, text=True).stdout.split()
            names -= {symbol.split("@")[0] for symbol in symbols}
        return sorted(names)

    def is_skipped(self, scenario, call):
        return (scenario, call) in self.SKIPPED

    # The original has no older functions: with it, the same program uses the newer ones.
    ON_ORIGINAL = {"walk-older": "walk-modern"}

    def walk(self, library, program, scenario, setting, **more):
        if library is self.original:
            program = self.ON_ORIGINAL.get(program, program)
        return library.walk(self.programs / program, scenario, **dict(setting.environment), **more)

    def once(self, library, program, scenario, setting):
        """A single run. It is a problem if it cannot listen, as little of the scenario runs then."""
        outcome = self.walk(library, program, scenario, setting, WALK_RUNS="1")
        deaf = [line for line in outcome.run(0) if "rpma_ep_listen(" in line and code_of(line)[0] != "0"]
        if deaf and scenario != "port-in-use":
            self.problem(f"{scenario} {setting.name}", "nothing listens", deaf)
        return outcome

    def try_again(self):
        with self.printing:
            self.tried_again += 1

    def problem(self, place, what, lines=()):
        with self.printing:
            self.problems += 1
            print(f"{place}: {what}", *(f"    {line}" for line in lines), sep="\n", flush=True)

    def finish(self, done, kinds):
        """Prints the last line; returns the exit status."""
        stale = self.differences.stale(kinds, self.options.all) if self.options.only == ["*"] else []
        for entry in stale:
            self.problem(entry, "matches nothing")
        print(f"{done}: {self.problems} problems, {self.differences.expected} expected differences")
        return 1 if self.problems else 0
