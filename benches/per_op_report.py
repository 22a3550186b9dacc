# SPDX-License-Identifier: BSD-3-Clause
"""Reads per-op.counts and per-op.aims, and makes doc/performance.md and its chart from them. The document ends with what
fabric_report makes."""
import pathlib
import re
import sys
from xml.sax.saxutils import escape

import fabric_report

HERE = pathlib.Path(__file__).resolve().parent
COUNTS = HERE / "per-op.counts"
AIMS = HERE / "per-op.aims"
DOCUMENT = HERE.parent / "doc" / "performance.md"
CHART = DOCUMENT.with_suffix(".svg")

COLUMNS = ("raw", "floor", "original", "here")
TITLES = {"raw": "raw verbs", "floor": "floor", "original": "original", "here": "this library"}
COLOURS = {"raw": "#c3c9d0", "floor": "#848d97", "original": "#2f6db0", "here": "#d9611a"}
LOOP = "(loop)"
OBJECTS = ("mr_reg and mr_dereg", "connection")  # each has an axis of its own in the chart
TIME_AIM = 0.2  # of the original's, for a connection
STACK_AIM = 2048  # bytes, for a logged error


class Section:
    """The results with one set of compilers: counts of instructions and other figures, for each column."""

    def __init__(self, name):
        self.name = name
        self.counts = {}
        self.figures = {}


def number(text):
    return float(text) if "." in text else int(text)


def read_counts():
    sections = []
    if not COUNTS.exists():
        return sections
    for line in COUNTS.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            sections.append(Section(line.strip("[]")))
            continue
        row, *cells = line.split("\t")
        values = {column: number(cell) for column, cell in zip(COLUMNS, cells) if cell != "-"}
        kind = sections[-1].figures if row.startswith(("connection, time", "stack, ")) else sections[-1].counts
        kind[row] = values
    return sections


def write_counts(sections):
    lines = ["# What run-per-op measured: instructions per call; at the end, parts of the original's time and bytes of stack.",
             "# Written by run-per-op --update. The document shows the first section.",
             "# " + "\t".join(("row", *COLUMNS))]
    for section in sections:
        lines += ["", f"[{section.name}]"]
        for row, values in (*section.counts.items(), *section.figures.items()):
            lines.append("\t".join((row, *(str(values.get(column, "-")) for column in COLUMNS))))
    COUNTS.write_text("\n".join(lines) + "\n")


def aims(raw):
    """Rows of per-op.aims: the highest acceptable count, and whether exceeding it is a failure."""
    result = {}
    for line in AIMS.read_text().splitlines():
        if line and not line.startswith("#"):
            row, limit, *required = line.split("\t")
            relative = re.fullmatch(r"raw([+-]\d+)", limit)
            result[row] = raw[row] + int(relative[1]) if relative else int(limit), bool(required)
    return result


# --- the document ----------------------------------------------------------------------------------

DOCUMENT_TEXT = """<!-- SPDX-License-Identifier: BSD-3-Clause -->
<!-- Made by benches/run-per-op and run-fabric. Do not edit: change per_op_report.py or fabric_report.py, then run
     benches/run-per-op --report. -->
# Performance

First what librpma costs, then [how fast softrdma is](#speed-of-softrdma).

What librpma adds to the verbs that it calls, counted in instructions. The RDMA device is one that does
nothing, so only software is counted, and every run gives the same count. `rpma-perf` measures time on a real
device; [tuning](tuning.md) says how to use the library so that it is fast.

![Instructions per call: raw verbs, floor, original and this library](performance.svg)

- **raw verbs**: the same requests, written by a program that uses libibverbs directly, inlined and without checks.
- **floor**: a C library with the same interface that does the same checks and nothing else
  (`benches/per-op-floor.c`). A call through this interface cannot be much cheaper.
- **original**: librpma 1.2.0, in C.
- **this library**: the library of this repository. The aim is the highest count that is accepted.

## Instructions per call

{counts}

Each count includes {loop} instructions of the loop around the call, and the device's own function.
`send, queue full` is `rpma_send` when `ibv_post_send` fails with ENOMEM and logging is disabled: the cost of
retrying until there is room. `cq_get_wc, 16` takes 16 completions in one call. In `cq_wait` each
acknowledgement of events takes a mutex, as in libibverbs; librpma acknowledges 128 events at once, raw verbs and
the original acknowledge each event separately. `connection` is the whole life of a connection:
`rpma_conn_req_new`, `rpma_conn_req_connect`, `rpma_conn_next_event` twice, `rpma_conn_disconnect` and
`rpma_conn_delete`.

## Time of a connection

{time}

These are medians of runs that alternate between the two libraries, on the same device that does nothing. They
include system calls, which the counts of instructions above do not.

## Stack of a logged error

{stack}

Bytes of stack that a failing call takes, beyond what the C library's functions for the message take
(`strerror_r`, `localtime_r`, `strftime`, `fputs`; `syslog` is not counted on either side). The original
does not log an invalid argument.

## Repeat the counts

Measured with {environment}. With other versions the counts are a little different.

    tests-c/abi/fetch-original build/original
    cmake -S . -B build -DCMAKE_BUILD_TYPE=Release && cmake --build build
    benches/run-per-op build build/original

This prints the tables. It fails if a count of this library has grown by more than 2 instructions and 1 % since
`benches/per-op.counts` was written. `--update` writes that file and this document; `--quick` measures only raw verbs
and this library.
"""


def grouped(value):
    return f"{value:,}"


def markdown(header, rows):
    lines = ["| " + " | ".join(header) + " |", "| --- |" + " ---: |" * (len(header) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def cell(values, column):
    return grouped(values[column]) if column in values else "-"


def document(section):
    limits = aims({row: values["raw"] for row, values in section.counts.items()})
    counted = []
    for row, values in section.counts.items():
        if row == LOOP:
            continue
        aim = ""
        if row in limits:
            aim = grouped(limits[row][0]) + ("" if values["here"] <= limits[row][0] else ", missed")
        counted.append((f"`{row}`" if " " not in row else row, *(cell(values, column) for column in COLUMNS), aim))
    time = section.figures["connection, time"]["here"]
    stacks = [(row.removeprefix("stack, "), cell(values, "original"), cell(values, "here"),
               grouped(STACK_AIM) + ("" if values["here"] <= STACK_AIM else ", missed"))
              for row, values in section.figures.items() if row.startswith("stack, ")]
    return DOCUMENT_TEXT.format(
        counts=markdown(("", *(TITLES[column] for column in COLUMNS), "aim"), counted),
        loop=section.counts[LOOP]["here"],
        time=f"A connection takes {100 * time:.0f} % of the time that it takes with the original. The aim is at most "
             f"{100 * TIME_AIM:.0f} %{'' if time <= TIME_AIM else ', which is missed'}.",
        stack=markdown(("", "original", "this library", "aim"), stacks),
        environment=section.name)


# --- the chart -------------------------------------------------------------------------------------

WIDTH, LABELS, RIGHT = 760, 160, 60  # of the whole, of the names at the left, of the numbers at the right
BAR, GAP = 9, 10


def nice_step(largest):
    """A round distance between grid lines, so that there are at most six."""
    step = 1
    while True:
        for factor in (1, 2, 5):
            if largest / (step * factor) <= 6:
                return step * factor
        step *= 10


def panel(top, rows):
    """Bars of some rows on one axis: the lines of SVG, and where they end. A bar of this library that is more than twice
    as long as all others of the panel is cut, and ends in an arrow."""
    largest = max(value for values in rows.values() for column, value in values.items() if column != "here")
    largest = max([largest, *(values["here"] for values in rows.values() if values["here"] <= 2 * largest)])
    scale = (WIDTH - LABELS - RIGHT) / largest
    height = len(rows) * (len(COLUMNS) * BAR + GAP)
    svg = []
    step = nice_step(largest)
    for value in range(0, largest + 1, step):
        x = LABELS + value * scale
        svg.append(f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{top + height}" stroke="#e3e6ea"/>')
        svg.append(f'<text x="{x:.1f}" y="{top + height + 13}" class="axis" text-anchor="middle">{grouped(value)}</text>')
    y = top + GAP / 2
    for row, values in rows.items():
        middle = y + len(COLUMNS) * BAR / 2 + 4
        svg.append(f'<text x="{LABELS - 8}" y="{middle:.1f}" text-anchor="end">{escape(row)}</text>')
        for column in COLUMNS:
            if column in values:
                value = values[column]
                width = min(value, largest) * scale
                text = grouped(value) + (" →" if value > largest else "")
                svg.append(f'<rect x="{LABELS}" y="{y:.1f}" width="{width:.1f}" height="{BAR - 1}" '
                           f'fill="{COLOURS[column]}"/>')
                weight = ' font-weight="bold"' if column == "here" else ""
                svg.append(f'<text x="{LABELS + width + 4:.1f}" y="{y + BAR - 1:.1f}" class="value"{weight}>{text}</text>')
            y += BAR
        y += GAP
    return svg, top + height + 20


def chart(section):
    charted = {row: values for row, values in section.counts.items()
               if row in aims({name: counts["raw"] for name, counts in section.counts.items()})}
    panels = [{row: values for row, values in charted.items() if row not in OBJECTS}]
    panels += [{row: charted[row]} for row in OBJECTS if row in charted]
    svg = ['<text x="10" y="22" font-size="15" font-weight="bold">Instructions per call</text>']
    x = LABELS + 60
    for column in COLUMNS:
        svg.append(f'<rect x="{x}" y="13" width="10" height="10" fill="{COLOURS[column]}"/>')
        svg.append(f'<text x="{x + 15}" y="22">{TITLES[column]}</text>')
        x += 115
    bottom = 40
    for rows in panels:
        lines, bottom = panel(bottom, rows)
        svg += lines
        bottom += 6
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom}" width="{WIDTH}" height="{bottom}" '
        'role="img" font-family="sans-serif" font-size="12" fill="#1f2328">',
        "<title>Instructions per call: raw verbs, floor, original and this library</title>",
        "<style>.axis { font-size: 10px; fill: #656d76 } .value { font-size: 9px }</style>",
        f'<rect width="{WIDTH}" height="{bottom}" fill="#ffffff"/>',
        *svg, "</svg>", ""])


def made():
    """The text of each file that is made from the first section of per-op.counts, and from fabric.results."""
    sections = read_counts()
    if not sections:
        sys.exit(f"{COUNTS.name} has no counts")
    of_softrdma, charts = fabric_report.made()
    return {DOCUMENT: document(sections[0]) + of_softrdma, CHART: chart(sections[0]), **charts}


def write():
    for path, text in made().items():
        path.write_text(text)


def differs():
    """Whether a committed file differs from the one that would be made."""
    wrong = [path for path, text in made().items() if not path.exists() or path.read_text() != text]
    for path in wrong:
        print(f"{path.name} does not belong to {COUNTS.name}, {AIMS.name} and {fabric_report.RESULTS.name}: run benches/run-per-op --report")
    return bool(wrong)
