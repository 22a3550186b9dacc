# SPDX-License-Identifier: BSD-3-Clause
"""The aims of run-fabric, and the part of doc/performance.md and the charts that are made from fabric.results."""
import dataclasses
import math
import pathlib
from xml.sax.saxutils import escape

HERE = pathlib.Path(__file__).resolve().parent
RESULTS = HERE / "fabric.results"
DOC = HERE.parent / "doc"

KIB, MIB = 1024, 1024 * 1024
EVENTFD = "eventfd round trip"
FLUSHES_EVENTFD = "eventfd round trip, beside native flushes"
KINDS = {"file": "file", "private": "private memory"}
SIDES = ("client", "server")


# --- results ---------------------------------------------------------------------------------------

class Results:
    """Sections of samples: a name with the values of all rounds. A note is a line of text."""

    def __init__(self):
        self.sections = {}
        self.notes = []

    def add(self, section, text):
        """Adds the lines that a program printed; returns those that are no samples, without what they begin with."""
        samples = self.sections.setdefault(section, {})
        others = []
        for line in text.splitlines():
            name, *values = line.split("\t")
            if name == "stopped":
                others.append(f"stopped at {values[0]} {section}: {values[1]}")
            elif values:
                samples[name] = [float(value) for value in values]
        return others

    def write(self):
        lines = ["# What run-fabric --record measured, in nanoseconds for each operation. The document shows it."]
        lines += [f"note\t{note}" for note in self.notes]
        for section, samples in self.sections.items():
            lines += ["", f"[{section}]"]
            lines += ["\t".join((name, *(f"{value:.7g}" for value in values))) for name, values in samples.items()]
        RESULTS.write_text("\n".join(lines) + "\n")


def read_results():
    results = Results()
    section = None
    for line in RESULTS.read_text().splitlines():
        if line.startswith("note\t"):
            results.notes.append(line.split("\t", 1)[1])
        elif line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            results.add(section, line)
    return results


def median(values):
    """NaN, which stands for an operation that did not end, is greater than everything."""
    if not values:
        return math.nan
    return sorted(values, key=lambda value: math.inf if math.isnan(value) else value)[len(values) // 2]


def duration(ns):
    if math.isnan(ns):
        return "waits"
    for unit, size in (("ms", 1e6), ("µs", 1e3)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns:.0f} ns"


# --- aims ------------------------------------------------------------------------------------------

@dataclasses.dataclass
class Row:
    """An aim: the ratio of a sample to its yardstick, of the same round, shall be at most (or at least) this."""
    title: str
    sample: str
    unit: str                # of the ratio
    yardsticks: tuple        # names of samples
    aim: float
    ratio: object = None     # of the values of sample and yardsticks; without one: the quotient
    least: bool = False
    counted: bool = False    # the sample is no time
    failure: float = None    # missed by so much in the best round, it is a failure

    def ratios(self, samples):
        columns = [samples.get(name, []) for name in (self.sample, *self.yardsticks)]
        ratio = self.ratio or (lambda value, yardstick: value / yardstick)
        return [ratio(*values) for values in zip(*columns)]

    def figure(self, samples):
        """The median of the ratios; None if it was not measured."""
        ratios = self.ratios(samples)
        return median(ratios) if ratios else None

    def reached(self, figure):
        return figure >= self.aim if self.least else figure <= self.aim

    def times(self, figure):
        """How many times the aim a figure is; less is better."""
        return self.aim / figure if self.least else figure / self.aim

    def far_below(self, samples):
        """Whether even the best round is a failure."""
        ratios = [ratio for ratio in self.ratios(samples) if not math.isnan(ratio)]
        if self.failure is None or not ratios:
            return False
        return max(ratios) < self.failure if self.least else min(ratios) > self.failure

    def of(self, samples):
        """The value of the sample itself, as text."""
        value = median(samples.get(self.sample, []))
        return f"{value:.3g}" if self.counted else duration(value)

    def text_of_aim(self):
        return f"at {'least' if self.least else 'most'} {self.aim:g}"


def copy_of(kind, size):
    return f"{'memcpy' if kind == 'file' else 'process_vm_writev'} of {size}"


def rows_of_operations():
    in_eventfds = {"unit": "eventfd round trips", "yardsticks": (EVENTFD,)}
    rows = []
    for kind, name in KINDS.items():
        rows += [
            Row(f"8 B write, {name}", f"write of 8 B, {kind}", aim=0.25, **in_eventfds),
            Row(f"8 B write, {name}", f"write of 8 B, {kind}", "(1.5 process_vm_writev + 0.5 µs)",
                ("process_vm_writev of 8 B",), 1, lambda value, copy: value / (1.5 * copy + 500)),
            Row(f"8 B read, {name}", f"read of 8 B, {kind}", aim=0.25, **in_eventfds),
            Row(f"8 B write and flush, {name}", f"write of 8 B and flush, {kind}", aim=0.45, **in_eventfds),
            Row(f"8 B write and native flush, {name}", f"write of 8 B and native flush, {kind}", "eventfd round trips",
                (FLUSHES_EVENTFD,), 0.45),
        ]
    for size in ("4 KiB", "64 KiB"):
        rows += [Row(f"{size} write, {name}", f"write of {size}, {kind}", f"(2 {copy_of(kind, '')[:-4]} + 0.5 µs)",
                     (copy_of(kind, size),), 1, lambda value, copy: value / (2 * copy + 500))
                 for kind, name in KINDS.items()]
    for kind, name in KINDS.items():
        for operation in ("write", "read"):
            for title, sample in ((f"1 MiB {operation}", f"{operation} of 1 MiB"),
                                  (f"1 MiB {operation}s, 8 at a time", f"8 {operation}s of 1 MiB")):
                rows.append(Row(f"{title}, {name}", f"{sample}, {kind}", "of memcpy", ("memcpy of 1 MiB",),
                                0.9 if kind == "file" else 0.65, lambda value, copy: copy / value, least=True))
    # How fast the kernel copies, compared with memcpy, differs between machines.
    rows += [Row(f"1 MiB {operation}s, 8 at a time, private memory", f"8 {operation}s of 1 MiB, private",
                 "of process_vm_writev", ("process_vm_writev of 1 MiB",), 0.9, lambda value, copy: copy / value,
                 least=True, failure=0.45) for operation in ("write", "read")]
    rows += [
        Row("message and back, polled", "message and back, polled", aim=1.2, failure=5, **in_eventfds),
        Row("message and back, waited for", "message and back, waited", aim=2, **in_eventfds),
    ]
    return rows


def rows_of_connections():
    # Half of what it was when messages over shared memory were all that softrdma had.
    rows = [
        Row("connect, write, disconnect", "connect, write, disconnect", "TCP connections", ("TCP connection",), 4.3),
        Row("connect, write, disconnect", "system calls", "system calls, both sides", (), 155, lambda value: value,
            counted=True),
    ]
    for name, aim in (("shared", 4), ("private", 4)):
        rows += [Row(f"idle connection, {side}", f"idle, {name} bytes, {side}", f"KiB of {name} memory", (), aim,
                     lambda value: value / KIB, counted=True) for side in SIDES]
    rows += [Row(f"idle connection, {side}", f"idle, descriptors, {side}", "descriptors", (), 1, lambda value: value,
                 counted=True) for side in SIDES]
    rows += [Row(f"8 B write, owner stopped, {name}", f"write of 8 B, owner stopped, {kind}", "of the same otherwise",
                 (f"write of 8 B, {kind}",), 1.2) for kind, name in KINDS.items()]
    return rows


ROWS = rows_of_operations() + rows_of_connections()


def verdicts(samples, skipped=None):
    """The lines of the table for a terminal. `skipped`: reasons, by the name of the sample."""
    lines = []
    for row in ROWS:
        figure = row.figure(samples)
        if figure is None:
            lines.append(f"{row.title:44} skipped: {(skipped or {}).get(row.sample, 'not measured')}")
            continue
        of = "" if row.counted else row.of(samples)
        ratio = "-" if math.isnan(figure) else f"{figure:.2f}"
        lines.append(f"{row.title:44} {of:>8} {ratio:>8} {row.unit:34} {row.text_of_aim():14} "
                     f"{'reached' if row.reached(figure) else 'MISSED'}")
    return lines


def far_below(samples):
    return [row for row in ROWS if row.far_below(samples)]


# --- by the number of connections and regions ------------------------------------------------------

@dataclasses.dataclass
class Series:
    """What is shown by a number: samples "NAME, N THINGS", divided by "YARDSTICK, N" of the same round."""
    name: str
    things: str
    yardstick: str
    unit: str

    def points(self, samples):
        points = []
        for name, values in samples.items():
            prefix, _, rest = name.rpartition(", ")
            if prefix == self.name and rest.endswith(self.things):
                number = int(rest.split()[0])
                yardsticks = samples.get(f"{self.yardstick}, {number}", [])
                ratios = [value / yardstick for value, yardstick in zip(values, yardsticks)]
                points.append((number, median(values), median(ratios)))
        return points


SERIES = {
    "connections": [Series("connect", "connections", "TCP connection", "TCP connections"),
                    Series("post", "connections", EVENTFD, "eventfd round trips"),
                    Series("completion", "connections", EVENTFD, "eventfd round trips")],
    "regions": [Series("register", "regions", EVENTFD, "eventfd round trips"),
                Series("write", "regions", EVENTFD, "eventfd round trips"),
                Series("deregister", "regions", EVENTFD, "eventfd round trips")],
}


def by_number(section, samples):
    """The lines of the table for a terminal."""
    lines = []
    for series in SERIES[section]:
        for number, ns, ratio in series.points(samples):
            lines.append(f"{series.name + ', ' + format(number, ',') + ' ' + section:44} {duration(ns):>8} {ratio:8.2f} "
                         f"{series.unit}")
    return lines


# --- the document ----------------------------------------------------------------------------------

def markdown(header, rows):
    lines = ["| " + " | ".join(header) + " |", "| --- |" + " ---: |" * (len(header) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def speed_table(samples):
    rows = []
    for row in ROWS:
        figure = row.figure(samples)
        if figure is None:
            rows.append((row.title, "", "not measured", row.text_of_aim(), ""))
            continue
        ratio = "" if math.isnan(figure) else f"{figure:.2f} {row.unit}"
        rows.append((row.title, "" if row.counted else row.of(samples), ratio, row.text_of_aim(),
                     "reached" if row.reached(figure) else "**missed**"))
    return markdown(("", "time", "ratio", "aim", ""), rows)


def number_table(section, samples):
    columns = [dict((number, (ns, ratio)) for number, ns, ratio in series.points(samples))
               for series in SERIES[section]]
    rows = []
    for number in sorted({number for column in columns for number in column}):
        cells = [f"{duration(column[number][0])} ({column[number][1]:.2f})" if number in column else "-"
                 for column in columns]
        rows.append((f"{number:,}", *cells))
    return markdown((section, *(f"{series.name} ({series.unit})" for series in SERIES[section])), rows)


# What others call the same operation: the rows of the comparison, by the sample in each section.
OPERATIONS = {
    "8 B write": "write of 8 B, file",
    "8 B read": "read of 8 B, file",
    "8 B write and flush": "write of 8 B and flush, file",
    "1 MiB writes, 8 at a time": "8 writes of 1 MiB, file",
    "1 MiB reads, 8 at a time": "8 reads of 1 MiB, file",
    "message and back, polled": "message and back, polled",
    "message and back, waited for": "message and back, waited",
    "connect, write, disconnect": "connect, write, disconnect",
}
TCP = {
    "1 MiB writes, 8 at a time": "TCP, 1 MiB",
    "message and back, polled": "TCP message and back, polled",
    "message and back, waited for": "TCP message and back, waited",
    "connect, write, disconnect": "TCP connection",
}


def figures(results, section, names, typical=median):
    samples = results.sections.get(section, {})
    return {title: typical(samples[name]) for title, name in names.items() if name in samples}


def others(results):
    """The columns of the comparison with others."""
    same = {title: title for title in OPERATIONS}
    return {
        "softrdma": figures(results, "softrdma", OPERATIONS),
        "softrdma on TCP": figures(results, "softrdma, TCP only", OPERATIONS),
        "TCP, loopback": figures(results, "softrdma", TCP),
        "UCX, shared memory": figures(results, "UCX", same, min),
        "libfabric, shared memory": figures(results, "libfabric", same, min),
    }


def comparison(columns):
    columns = {name: column for name, column in columns.items() if column}
    rows = [(title, *(duration(column[title]) if title in column else "-" for column in columns.values()))
            for title in OPERATIONS if any(title in column for column in columns.values())]
    return markdown(("", *columns), rows)


def times_as_fast(ratio):
    """Two digits, and no exponent."""
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.2g}"


def in_the_machine(results):
    """The comparison with rxe, or nothing."""
    private = {title: sample.replace(", file", ", private") for title, sample in OPERATIONS.items()}
    # by size, and what is no transfer last
    larger = {f"{size} write": f"write of {size}, private" for size in ("4 KiB", "64 KiB")}
    small = {title: private.pop(title) for title in list(private) if title.startswith("8 B")}
    private = small | larger | private
    rxe = figures(results, "rxe", private, min)
    columns = {name: figures(results, f"{name}, beside rxe", private, min) for name in ("softrdma", "softrdma on TCP")}
    rows = [(title, *(times_as_fast(rxe[title] / column[title]) if title in column else "-" for column in columns.values()))
            for title in private if title in rxe]
    if not rows:
        return ""
    return ("\n### Beside the kernel's rxe, in a virtual machine\n\n" + markdown(("times as fast as rxe", *columns), rows) + "\n\n"
            "How many times as fast as the kernel's rxe softrdma is, on private memory: at 1 both are equal, and more is better.\n"
            "rxe and both columns were measured one after the other in one run of the virtual machine of `scripts/rxe-vm`: the\n"
            "best round of each. Where its processor is emulated, a system call, a change of process and a byte copied cost what\n"
            "the emulation makes of them: times from there mean nothing, and these ratios are those of an emulated machine.\n")


def with_librpma(results):
    names = {"write": "8 B write", "read": "8 B read", "write-flush": "8 B write and flush",
             "send, poll": "message and back, polled", "send, event": "message and back, waited for",
             "write, 1 MiB": "1 MiB writes, 8 at a time", "read, 1 MiB": "1 MiB reads, 8 at a time"}
    samples = results.sections.get("librpma", {})
    rows = []
    for name, title in names.items():
        here, original = (samples.get(f"{name}, {which}", []) for which in ("here", "original"))
        if here and original:
            rows.append((title, *(f"{duration(min(each))} / {duration(median(each))}" for each in (original, here))))
    if not rows:
        return ""
    return ("\n### Through librpma\n\n" + markdown(("", "original", "this library"), rows) + "\n\n"
            "`rpma-perf` on softrdma, with either library in turn: the best and the median of several runs, each of which is the\n"
            "median of its operations. `rpma-perf` polls at both ends: whether the thread that polls or the I/O thread of the\n"
            "server serves a request makes more difference than the library.\n")


DOCUMENT_TEXT = """
## Speed of softrdma

How fast the RDMA fabric in user space is between two processes of one user on one machine. Machines differ and are
shared, so each figure is also a ratio to a yardstick of the same round: the median of {rounds} rounds, in each of which
operations and yardsticks take turns, and each of which is the median of batches. *eventfd*: two processes on one
processor that wake each other; *memcpy* and *process_vm_writev*: the copy alone. *File*: the owner's memory is a file
in memory that it has mapped shared, as persistent memory is; *private memory* is not shared, and begins where a huge
page does.

{speed}

![How many times the aim each figure is](performance-softrdma.svg)

Operations of up to 256 KiB, and of up to 16 MiB in files, are executed by the process that posts them; larger ones
too, with the help of the owner of the memory where that is faster. A flush is an 8-byte read after the write, as
librpma flushes on devices without native flushes; with `--caps flush` softrdma has native ones. *Owner stopped*: the process
that owns the memory has got SIGSTOP; *waits* means that the write completes only when that process goes on. *Idle
connection*: what one of {idle} connections that have moved no data takes. The aim for connecting is half of what it
took when this was first measured: 8.6 TCP connections, and 309 system calls.

The kernel copies private memory, and what it takes for that is more than some aims allow. 8 bytes are a system call that
finds the pages of another process, and a check that its descriptor is still the one that was opened. 1 MiB is one
`process_vm_writev` or `process_vm_readv`, a look at the table of pages and a check of whose memory it is: the last rows
of 1 MiB compare it with that call alone, which is itself no faster than the aim.

### By the number of connections and regions

![Cost of connect, post and completion by the number of connections](performance-connections.svg)
![Cost of registration, write and deregistration by the number of regions](performance-regions.svg)

{connections}

{regions}

With so many connections or regions between two processes: the time of one more connection until `ESTABLISHED`; the
call that posts a write of 8 bytes on any one of them, and the time from there to its completion; the registration
of one more region of 64 bytes, a write of 8 bytes to any one of them, and the deregistration. All connections share an
event channel and a completion queue.{stopped}

### Beside others

{others}

softrdma uses TCP between users, hosts and network name spaces, and with `SOFTRDMA_SOCKET_ONLY=1`, as here. TCP itself
has no one-sided operations, and its 1 MiB is acknowledged by a byte; its connection carries one byte in each
direction. UCX is `ucx_perftest` with `UCX_TLS=posix`, where the owner's memory is mapped shared; libfabric is
`fi_pingpong -p shm`, whose mean includes the times in which other programs had the processor. Of both it is the best
of several runs.
{librpma}{rxe}
### Repeat it

    tests-c/abi/fetch-original build/original
    benches/run-fabric build softrdma
    benches/run-fabric build --original build/original --rxe --record

The second prints the table of aims, the last one measures everything in this part of the document and writes it; without
`--rxe`, all but what takes a virtual machine. What other programs disturb is measured up to five times, and the least
disturbed measurement counts. On two processors, messages need both: where others use one of them, these rows tell
little.

Measured on: {notes}.
"""


def document(results):
    softrdma = results.sections.get("softrdma", {})
    stopped = [note for note in results.notes if note.startswith("stopped")]
    notes = [note for note in results.notes if not note.startswith("stopped")]
    return DOCUMENT_TEXT.format(
        rounds=len(softrdma[EVENTFD]), idle="1,000", speed=speed_table(softrdma),
        connections=number_table("connections", results.sections["connections"]),
        regions=number_table("regions", results.sections["regions"]),
        stopped="".join(f" {note.capitalize()}." for note in stopped),
        others=comparison(others(results)), librpma=with_librpma(results), rxe=in_the_machine(results),
        notes=", ".join(notes))


# --- charts ----------------------------------------------------------------------------------------

WIDTH = 760
COLOURS = ("#2f6db0", "#d9611a", "#3d8b4f")


def svg(title, height, lines):
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'role="img" font-family="sans-serif" font-size="12" fill="#1f2328">',
        f"<title>{escape(title)}</title>",
        "<style>.axis { font-size: 10px; fill: #656d76 } .value { font-size: 9px }</style>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="10" y="22" font-size="15" font-weight="bold">{escape(title)}</text>',
        *lines, "</svg>", ""])


def chart_of_aims(samples):
    """A bar for each row: how many times the aim it is, up to `most`."""
    left, right, top, bar, most = 350, 60, 40, 13, 6
    scale = (WIDTH - left - right) / most
    rows = [(row, row.figure(samples)) for row in ROWS]
    rows = [(row, figure) for row, figure in rows if figure is not None]
    bottom = top + len(rows) * (bar + 4)
    lines = []
    for value in range(most + 1):
        x = left + value * scale
        colour = "#1f2328" if value == 1 else "#e3e6ea"
        lines.append(f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}" stroke="{colour}"/>')
        lines.append(f'<text x="{x:.1f}" y="{bottom + 13}" class="axis" text-anchor="middle">{value}</text>')
    for index, (row, figure) in enumerate(rows):
        y = top + 2 + index * (bar + 4)
        times = math.inf if math.isnan(figure) else row.times(figure)
        width = min(times, most) * scale
        title = f"{row.title}, {row.unit}" if row.counted or "process_vm" in row.unit else row.title
        text = "waits →" if math.isinf(times) else f"{times:.2f}" + (" →" if times > most else "")
        lines.append(f'<text x="{left - 8}" y="{y + bar - 3}" text-anchor="end" font-size="10">{escape(title)}</text>')
        lines.append(f'<rect x="{left}" y="{y}" width="{width:.1f}" height="{bar}" '
                     f'fill="{COLOURS[2] if row.reached(figure) else COLOURS[1]}"/>')
        lines.append(f'<text x="{left + width + 4:.1f}" y="{y + bar - 3}" class="value">{text}</text>')
    return svg("softrdma: how many times the aim (less is better)", bottom + 24, lines)


def chart_by_number(title, section, samples):
    """Lines on two logarithmic axes."""
    left, right, top, height = 60, 170, 45, 250
    series = [(each, each.points(samples)) for each in SERIES[section]]
    ratios = [point[2] for _, points in series for point in points]
    numbers = [point[0] for _, points in series for point in points]
    low, high = math.floor(math.log10(min(ratios))), math.ceil(math.log10(max(ratios)))
    widest = max(1, math.ceil(math.log10(max(numbers))))
    bottom = top + height

    def at_x(number):
        return left + math.log10(number) / widest * (WIDTH - left - right)

    def at_y(ratio):
        return bottom - (math.log10(ratio) - low) / max(1, high - low) * height

    lines = []
    for power in range(widest + 1):
        x = at_x(10 ** power)
        lines.append(f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}" stroke="#e3e6ea"/>')
        lines.append(f'<text x="{x:.1f}" y="{bottom + 14}" class="axis" text-anchor="middle">{10 ** power:,}</text>')
    for power in range(low, high + 1):
        y = at_y(10.0 ** power)
        lines.append(f'<line x1="{left}" y1="{y:.1f}" x2="{WIDTH - right}" y2="{y:.1f}" stroke="#e3e6ea"/>')
        lines.append(f'<text x="{left - 6}" y="{y + 3:.1f}" class="axis" text-anchor="end">{10.0 ** power:g}</text>')
    lines.append(f'<text x="{left}" y="{bottom + 30}" class="axis">number of {section}</text>')
    label = -math.inf
    for colour, (each, points) in sorted(zip(COLOURS, series), key=lambda pair: at_y(pair[1][1][-1][2])):
        path = " ".join(f"{at_x(number):.1f},{at_y(ratio):.1f}" for number, _, ratio in points)
        lines.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        lines += [f'<circle cx="{at_x(number):.1f}" cy="{at_y(ratio):.1f}" r="3" fill="{colour}"/>'
                  for number, _, ratio in points]
        # Two labels must not cover each other.
        label = max(at_y(points[-1][2]), label + 28)
        x = at_x(points[-1][0]) + 10
        lines.append(f'<text x="{x:.1f}" y="{label:.1f}" fill="{colour}">{each.name}</text>')
        lines.append(f'<text x="{x:.1f}" y="{label + 12:.1f}" class="axis">in {each.unit}</text>')
    return svg(title, bottom + 40, lines)


def made():
    """The part of the document, and the text of each chart."""
    results = read_results()
    return document(results), {
        DOC / "performance-softrdma.svg": chart_of_aims(results.sections["softrdma"]),
        DOC / "performance-connections.svg": chart_by_number("Cost by the number of connections", "connections",
                                                             results.sections["connections"]),
        DOC / "performance-regions.svg": chart_by_number("Cost by the number of regions", "regions",
                                                         results.sections["regions"]),
    }
