# SPDX-License-Identifier: BSD-3-Clause
"""The modes of run-walks. Each returns a summary for the last line, and the kinds of its places."""

import difflib
import errno as errnos
import re

import walking
from walking import ANY_ERRNO, LIMIT, MORE_ERRNOS, RELEASES, SETTINGS, USUAL

PLAIN = SETTINGS[0]
PROGRAMS = ("walk", "walk-older")


def leaks_of(outcome):
    return [f"{kind} {count}" for kind, count in sorted(outcome.leaks.items())]


# --- trace ----------------------------------------------------------------------------------------------


def trace(walks):
    if unused := walks.unused_functions():
        walks.problem("trace", f"no program uses {', '.join(unused)}")
    jobs = [(program, scenario, setting) for program in PROGRAMS
            for scenario in walks.scenarios(program) for setting in walks.settings]
    lines = 0

    def both(job):
        return [walks.once(library, *job) for library in (walks.original, walks.ours)]

    for (program, scenario, setting), (theirs, ours) in zip(jobs, walks.pool.map(both, jobs)):
        where = f"{scenario} {setting.name}"
        if any(re.search(r"rpma_write_atomic\(.* = 0$", line) for line in ours.run(0)):
            if sum(FENCED in line for line in ours.trace) != 1:
                walks.problem(f"trace {where}", "rpma_write_atomic is not fenced")
        for part, a, b in (("trace", theirs.trace, modern(program, ours.trace)),
                           ("output", theirs.run(0), ours.run(0)), ("leaks", leaks_of(theirs), leaks_of(ours))):
            lines += len(b)
            if wrong := walks.differences.compare(f"{part} {where}", a, b):
                walks.problem(f"{part} {where}", "not as the original", wrong)
        for what, wrong in unlogged(ours):
            walks.problem(where, what, wrong)
        for outcome in (ours, theirs):
            if outcome.ended():
                walks.problem(where, outcome.ended(), outcome.errors)
    return f"{len(jobs)} runs on each library, {lines} lines of them compared", ("trace", "output", "leaks")


# The arguments of a post by rpma_write_atomic.
FENCED = "send_flags=FENCE|SIGNALED, num_sge=1, length=8, mr="


def modern(program, lines):
    """The calls as the original makes them with the functions that replaced the older ones: rpma_write_atomic
    posts with a fence, and no other function does that takes its data from a region."""
    if program != "walk-older":
        return lines
    return [line.replace(FENCED, FENCED.replace("FENCE|", "")) for line in lines]


# Success, and failures that a program expects.
SILENT = {"0", "NO_COMPLETION", "NO_EVENT"}


def unlogged(outcome):
    """Steps of this library that fail without an ERROR in the log, or log an ERROR without failing."""
    wrong = []
    for number in range(len(outcome.runs)):
        for line in outcome.run(number):
            code, levels = walking.code_of(line)
            # the number of messages is compared with the original elsewhere
            if code and ("ERROR" in levels) != (code not in SILENT):
                wrong.append(line)
    return [("an ERROR without a failure, or a failure without an ERROR", wrong)] if wrong else []


# --- faults ---------------------------------------------------------------------------------------------


class FaultJob:
    """A call to fail in a scenario, with both libraries."""

    def __init__(self, program, scenario, setting, clean, ours, theirs, errno):
        self.program, self.scenario, self.setting = program, scenario, setting
        self.clean = clean
        # the call in either trace; `theirs` is None if the original does not make it
        self.ours, self.theirs = ours, theirs
        self.errno = errno

    def place(self, kind="fault"):
        return f"{kind} {self.scenario} {self.setting.name} {self.ours}:{self.errno or 'usual'}"

    def walk(self, walks, library, patience, **more):
        point = self.ours if library is walks.ours else self.theirs
        return walks.walk(library, self.program, self.scenario, self.setting,
                          SOFTRDMA_FAIL=point.fault(self.errno), WALK_PATIENCE_MS=str(patience), **more)


# Without --all, two places are alike if the call and this many calls before it are the same.
CONTEXT = 4


def fault_jobs(walks):
    """With --all, every place with every error. Otherwise one of several places that are alike, with errors other
    than the default one only where a library may check for them; and for a device with capabilities, only the
    calls that are not made on the plain device."""
    jobs = []
    seen = set()
    plain = {}
    for program, scenario, setting, ours, theirs in clean_runs(walks):
        lines = aligned(walks, f"{scenario} {setting.name}", ours, theirs)
        context = [line for line, _, _ in lines]
        if setting is PLAIN:
            plain[scenario] = set(map(numberless, context))
        for number, (line, at, original_at) in enumerate(lines):
            alike = tuple(map(numberless, context[max(0, number - CONTEXT):number + 1]))
            if not at or walks.is_skipped(scenario, at.call):
                continue
            if setting is not PLAIN and numberless(line) in plain[scenario]:
                continue
            which = [USUAL, *MORE_ERRNOS.get(at.call, [])]
            if walks.options.all:
                which = dict.fromkeys([*which, *ANY_ERRNO])
            elif alike in seen:
                continue
            seen.add(alike)
            jobs += [FaultJob(program, scenario, setting, ours, at, original_at, errno)
                     for errno in which]
    return jobs


def clean_runs(walks):
    """Runs of all scenarios without failures, with each set of capabilities of the device."""

    def run(job):
        program, scenario, setting = job
        theirs = None
        if walks.original:
            theirs = walks.once(walks.original, program, scenario, setting)
        return *job, walks.once(walks.ours, program, scenario, setting), theirs

    jobs = [(program, scenario, setting) for program in PROGRAMS
            for scenario in walks.scenarios(program) for setting in walks.settings]
    return walks.pool.map(run, jobs)


def aligned(walks, where, ours, theirs):
    """The lines of the trace of this library, each with its place and that in the trace of the original."""

    def keyed(outcome):
        points = walking.points_of(outcome.trace, walks.calls)
        lines = [" ".join(walks.differences.dropped(f"trace {where}", [line])) for line in outcome.trace]
        return [(line, point) for line, point in zip(lines, points) if line]

    here = keyed(ours)
    there = keyed(theirs) if theirs else []
    partner = [None] * len(here)
    matcher = difflib.SequenceMatcher(None, [line for line, _ in there], [line for line, _ in here], False)
    for i, j, length in matcher.get_matching_blocks():
        for k in range(length):
            partner[j + k] = there[i + k][1]
    return [(line, point, other) for (line, point), other in zip(here, partner)]


def faults(walks):
    jobs = fault_jobs(walks)
    for _ in walks.pool.map(lambda job: fault(walks, job), jobs):
        pass
    with_original = sum(job.theirs is not None for job in jobs)
    return (f"{len(jobs)} walks, {with_original} of them compared with the original, {walks.tried_again} "
            "tried again"), ("fault", "calls")


def fault(walks, job):
    theirs = None
    for patience, limit in ((walking.PATIENCE_MS, walking.ORIGINAL_LIMIT), (walking.MORE_PATIENCE_MS, LIMIT)):
        ours = job.walk(walks, walks.ours, patience)
        if job.theirs and walks.original:
            theirs = job.walk(walks, walks.original, patience, limit=limit)
        wrong = fault_problems(walks, job, ours, theirs)
        if not wrong or patience_is_over(walks, patience, ours, fault_leftovers(job, ours, theirs)):
            break
    for what, lines in wrong:
        walks.problem(job.place(), what, lines)


def numberless(line):
    """The line without the running numbers of objects."""
    return re.sub(r"#\d+", "#", line)


def fault_problems(walks, job, ours, theirs):
    wrong = aftermath(ours, job.clean.run(0)) + unlogged(ours)
    if not has_injected(ours):
        wrong.append(("nothing failed", []))
    wrong += fault_leftovers(job, ours, theirs)
    injected = getattr(errnos, job.errno or walks.calls[job.ours.call])
    at = walking.first_change(job.clean.run(0), ours.run(1))
    if at is not None and at < len(ours.runs[1]):
        failed = ours.runs[1][at]
        clean = job.clean.run(0)[at:at + 1]
        # a step that also fails in a clean run did not fail because of the injected failure
        is_first = not clean or walking.code_of(clean[0])[0] != "PROVIDER"
        if walking.code_of(failed)[0] == "PROVIDER" and is_first and not failed.endswith(f"[errno {injected}]"):
            wrong.append((f"not errno {injected}", [failed]))
    if theirs:
        compared = walks.differences.compare(job.place(), outcome_lines(theirs), outcome_lines(ours))
        if compared:
            wrong.append(("not as the original", compared))
        # the trace of a program that was killed is not complete
        if theirs.status == ours.status == 0:
            calls = modern(job.program, ours.traces[1])
            if compared := walks.differences.compare(job.place("calls"), theirs.traces[1], calls):
                wrong.append(("not the calls of the original", compared))
    return wrong


def fault_leftovers(job, ours, theirs):
    """Leaks. Objects whose release was made to fail count only if the original frees them."""
    if job.ours.call not in RELEASES:
        return left_behind(ours, job.clean)
    # a program that was killed has not listed its objects
    more = ours.leaks - theirs.leaks if theirs and theirs.status is not None else None
    return [(f"leaves behind what the original does not: {dict(more)}", ours.run(1))] if more else []


def patience_is_over(walks, patience, ours, leftovers):
    """Whether an unexpected outcome is final. Something may have come too late because the machine is busy: then
    the walk is repeated with a longer timeout. A crash or a leak is always final."""
    if ours.status or leftovers or patience == walking.MORE_PATIENCE_MS:
        return True
    walks.try_again()
    return False


def has_injected(outcome):
    return any("(injected)" in line for lines in outcome.traces for line in lines)


def outcome_lines(outcome):
    return outcome.run(1) + ([outcome.ended()] if outcome.ended() else [])


def aftermath(outcome, clean):
    """Problems if the program did not exit with success, or if the runs before and after the walked one differ from
    a clean run."""
    if outcome.ended():
        return [(outcome.ended(), outcome.run(1)[-5:] + outcome.errors)]
    wrong = []
    for number in (0, 2):
        if outcome.run(number) != clean:
            changes = difflib.unified_diff(clean, outcome.run(number), lineterm="", n=0)
            wrong.append((f"run {number} is not clean", list(changes)[2:]))
    return wrong


def left_behind(outcome, clean):
    """Objects and descriptors that are left at the end, beyond those of clean runs."""
    wrong = []
    if more := outcome.leaks - walking.times(3, clean.leaks):
        wrong.append((f"not destroyed: {dict(more)}", outcome.run(1)))
    if outcome.descriptors(1):
        wrong.append((f"{outcome.descriptors(1)} descriptors are left open", outcome.run(1)))
    return wrong


# --- allocations ----------------------------------------------------------------------------------------

# Scenarios of functions that allocate no memory.
NO_ALLOCATIONS = {"utils", "logging"}
# Scenarios that are always compared, as the steps after the failed one matter.
COMPARED = {"taken-again"}


class AllocJob:
    """A scenario, with its runs without failures."""

    def __init__(self, program, scenario, setting, clean, original_clean):
        self.program, self.scenario, self.setting = program, scenario, setting
        self.clean, self.original_clean = clean, original_clean

    def place(self):
        return f"alloc {self.scenario} {self.setting.name}"

    def walk(self, walks, library, number, patience=walking.PATIENCE_MS, **more):
        return walks.walk(library, self.program, self.scenario, self.setting, FAIL_ALLOC=str(number),
                          WALK_PATIENCE_MS=str(patience), **more)

    def failed_step(self, outcome):
        return walking.first_change(self.clean.run(0), outcome_lines(outcome))

    def failed_step_of_original(self, outcome):
        return walking.first_change(self.original_clean.run(0), outcome_lines(outcome))


def alloc_jobs(walks):
    return [AllocJob(*run) for run in clean_runs(walks) if run[2] is PLAIN or walks.options.all]


def walk_all(walks, library, jobs, **more):
    """Makes each allocation fail, as many as the preloaded library counts. Returns the outcomes of each job."""
    counts = walks.pool.map(lambda job: job.walk(walks, library, 0).allocations, jobs)
    pairs = [(job, number) for job, count in zip(jobs, counts) for number in range(1, count + 1)]
    outcomes = {job: [] for job in jobs}
    for (job, _), outcome in zip(pairs, walks.pool.map(
            lambda pair: pair[0].walk(walks, library, pair[1], **more), pairs)):
        outcomes[job].append(outcome)
    return outcomes


def allocations(walks):
    """The two libraries allocate differently often, so the results of a step in which an allocation fails are
    compared. Without --all, each step is compared once."""
    ours = walk_all(walks, walks.ours, alloc_jobs(walks))
    compared = []
    seen = set()
    for job, outcomes in ours.items():
        if not outcomes and job.scenario not in NO_ALLOCATIONS:
            walks.problem(job.place(), "allocates nothing")
        changes = [job.failed_step(outcome) for outcome in outcomes]
        steps = {outcome_lines(outcome)[at] for outcome, at in zip(outcomes, changes) if at is not None}
        if job.original_clean and (walks.options.all or job.scenario in COMPARED or steps - seen):
            compared.append(job)
            seen |= steps
    theirs = {}
    for job, outcomes in walk_all(walks, walks.original, compared, limit=walking.ORIGINAL_LIMIT).items():
        theirs[job] = {job.failed_step_of_original(outcome): outcome for outcome in reversed(outcomes)}
    checks = [(job, number, outcome) for job in ours for number, outcome in enumerate(ours[job], 1)]
    for _ in walks.pool.map(lambda check: allocation(walks, *check, theirs.get(check[0], {})), checks):
        pass
    return (f"{len(checks)} walks, those of {len(compared)} scenarios compared with the original, "
            f"{walks.tried_again} tried again"), ("alloc",)


def allocation(walks, job, number, ours, theirs):
    wrong = alloc_problems(walks, job, ours, theirs)
    if wrong and not patience_is_over(walks, walking.PATIENCE_MS, ours, left_behind(ours, job.clean)):
        ours = job.walk(walks, walks.ours, number, walking.MORE_PATIENCE_MS)
        wrong = alloc_problems(walks, job, ours, theirs)
    for what, lines in wrong:
        walks.problem(f"{job.place()} {number}", what, lines)


def alloc_problems(walks, job, ours, theirs):
    wrong = aftermath(ours, job.clean.run(0)) + left_behind(ours, job.clean) + unlogged(ours)
    at = job.failed_step(ours)
    if at is None:
        return [*wrong, ("no step reports the failure", [])]
    step = outcome_lines(ours)[at]
    code, _ = walking.code_of(step)
    if code != "NOMEM":
        wrong.append(("not NOMEM", [step]))
    if at in theirs:
        if unexpected := walks.differences.compare(job.place(), outcome_lines(theirs[at]), outcome_lines(ours)):
            wrong.append(("not as the original", unexpected))
    return wrong


# --- valgrind -------------------------------------------------------------------------------------------

VALGRIND = ["valgrind", "--quiet", "--error-exitcode=99", "--leak-check=full", "--show-leak-kinds=definite",
            "--errors-for-leak-kinds=definite", "--suppressions=" + str(walking.HERE / "valgrind.supp")]
# Without --all, one walk of this many runs.
SAMPLE = 30


def valgrind(walks):
    """Checks memory accesses and leaks only, not what the other modes check, except that a failure must be
    injected."""
    jobs = []
    for job in fault_jobs(walks):
        jobs.append((job.place(), has_injected, lambda job=job: job.walk(
            walks, walks.ours, walking.MORE_PATIENCE_MS, WALK_RUNS="2", wrap=VALGRIND, limit=10 * LIMIT)))
    for job in alloc_jobs(walks):
        for number in range(1, job.walk(walks, walks.ours, 0).allocations + 1):
            jobs.append((f"{job.place()} {number}",
                         lambda outcome, number=number: outcome.allocations >= number,
                         lambda job=job, number=number: job.walk(
                             walks, walks.ours, number, walking.MORE_PATIENCE_MS, WALK_RUNS="2",
                             wrap=VALGRIND, limit=10 * LIMIT)))
    return f"{sampled(walks, jobs)} walks under valgrind", ()


def sanitizer(walks):
    """The same with failing calls, in a build for AddressSanitizer. Allocations cannot fail there: AddressSanitizer
    replaces malloc, and so does fail-alloc.c."""
    jobs = [(job.place(), has_injected, lambda job=job: job.walk(
        walks, walks.ours, walking.MORE_PATIENCE_MS, WALK_RUNS="2")) for job in fault_jobs(walks)]
    return f"{sampled(walks, jobs)} walks under AddressSanitizer", ()


def sampled(walks, jobs):
    """Runs a sample of the jobs. A job is a place, a check that the outcome has the failure, and the walk."""
    if not jobs:
        walks.problem(walks.options.mode, "there is nothing to run")
    if not walks.options.all:
        jobs = jobs[::SAMPLE]
    for (place, has_failed, _), outcome in zip(jobs, walks.pool.map(lambda job: job[2](), jobs)):
        if outcome.ended():
            walks.problem(place, outcome.ended(), outcome.errors)
        elif not has_failed(outcome):
            walks.problem(place, "nothing failed", outcome.run(1))
    return len(jobs)


MODES = {"trace": trace, "faults": faults, "allocations": allocations, "valgrind": valgrind,
         "sanitizer": sanitizer}
