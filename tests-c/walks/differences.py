# SPDX-License-Identifier: BSD-3-Clause
"""Where the two libraries may differ: the file "differences", whose head says how it is written."""

import difflib
import fnmatch
import re
import threading
from dataclasses import dataclass, field


@dataclass
class Entry:
    line: int
    row: str = ""
    where: list = field(default_factory=list)
    original: list = field(default_factory=list)
    here: list = field(default_factory=list)
    drop: str = ""
    used: int = 0

    def covers(self, place):
        return any(fnmatch.fnmatchcase(place, pattern) for pattern in self.where)

    def allows(self, original, here):
        return matches(self.original, original) and matches(self.here, here)


def matches(patterns, lines):
    if patterns[-1:] == ["..."]:
        patterns, lines = patterns[:-1], lines[:len(patterns) - 1]
    return len(patterns) == len(lines) and all(map(fnmatch.fnmatchcase, lines, patterns))


class Differences:
    """The entries of the file."""

    def __init__(self, path, compatibility):
        self.path = path
        self.entries = []
        self.expected = 0
        self.lock = threading.Lock()
        known = compatibility.read_text()
        for number, line in enumerate(path.read_text().splitlines(), 1):
            word, _, rest = line.partition(" ")
            if not line or word.startswith("#"):
                continue
            if word == "row":
                self.entries.append(Entry(number, rest))
                if f"| {rest} " not in known:
                    raise SystemExit(f"{path}:{number}: {compatibility} has no such row: {rest}")
                continue
            entry = self.entries[-1]
            if word == "where":
                # what is not a letter stands for itself, but for the star
                entry.where.append(rest.replace("[", "[[]"))
            elif word in ("-", "+"):
                (entry.original if word == "-" else entry.here).append(rest.replace("[", "[[]"))
            elif word == "drop":
                entry.drop = rest
            else:
                raise SystemExit(f"{path}:{number}: not an entry: {line}")

    def dropped(self, place, lines):
        """The lines without what entries drop."""
        for entry in self.entries:
            if entry.drop and entry.covers(place):
                lines, before = [re.sub(entry.drop, "", line) for line in lines], lines
                lines = [line for line in lines if line]
                entry.used += lines != before
        return lines

    def compare(self, place, original, here):
        """What differs and may not, as lines to print."""
        original, here = self.dropped(place, original), self.dropped(place, here)
        unexpected = []
        matcher = difflib.SequenceMatcher(None, original, here, autojunk=False)
        for tag, i, j, k, l in matcher.get_opcodes():
            if tag == "equal":
                continue
            for entry in self.entries:
                if entry.covers(place) and entry.allows(original[i:j], here[k:l]):
                    with self.lock:
                        entry.used += 1
                        self.expected += 1
                    break
            else:
                unexpected += [f"- {line}" for line in original[i:j]]
                unexpected += [f"+ {line}" for line in here[k:l]]
        return unexpected

    def stale(self, kinds):
        """Entries for these kinds of places that were of no use."""
        return [
            f"{self.path.name}:{entry.line}"
            for entry in self.entries
            if not entry.used and all(pattern.split()[0] in kinds for pattern in entry.where)
        ]
