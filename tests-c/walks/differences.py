# SPDX-License-Identifier: BSD-3-Clause
"""Reads the file "differences", which lists where the two libraries may differ; its format is described there."""

import difflib
import fnmatch
import re
import threading
from dataclasses import dataclass, field


@dataclass
class Entry:
    line: int
    row: str = ""
    # the release of the original that it applies to; empty for all
    release: str = ""
    where: list = field(default_factory=list)
    original: list = field(default_factory=list)
    here: list = field(default_factory=list)
    drop: str = ""
    # the patterns of `where` that match only with --all, and the patterns that have matched
    rare: set = field(default_factory=set)
    used: set = field(default_factory=set)

    def covering(self, place):
        return {pattern for pattern in self.where if fnmatch.fnmatchcase(place, pattern)}

    def ends(self):
        """Whether the comparison ends with this entry."""
        return self.original[-1:] == self.here[-1:] == ["..."]

    def allows(self, original, here):
        return matches(self.original, original) and matches(self.here, here)


def matches(patterns, lines):
    if patterns[-1:] == ["..."]:
        patterns, lines = patterns[:-1], lines[:len(patterns) - 1]
    return len(patterns) == len(lines) and all(map(fnmatch.fnmatchcase, lines, patterns))


def kept(found):
    """The part of a match of "drop" that is kept: the first group of the expression."""
    return found[1] if found.re.groups else ""


class Differences:
    """The entries of the file."""

    def __init__(self, path, compatibility, release):
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
            if word in ("where", "where-all"):
                # brackets are literal, only the star is special
                entry.where.append(rest.replace("[", "[[]"))
                if word == "where-all":
                    entry.rare.add(entry.where[-1])
            elif word in ("-", "+"):
                (entry.original if word == "-" else entry.here).append(rest.replace("[", "[[]"))
            elif word == "drop":
                entry.drop = rest
            elif word == "original":
                entry.release = rest
            else:
                raise SystemExit(f"{path}:{number}: not an entry: {line}")
        self.entries = [entry for entry in self.entries if entry.release in ("", release)]

    def dropped(self, place, lines):
        """The lines without the parts that entries drop."""
        for entry in self.entries:
            if entry.drop and (covering := entry.covering(place)):
                lines, before = [re.sub(entry.drop, kept, line) for line in lines], lines
                lines = [line for line in lines if line]
                if lines != before:
                    entry.used |= covering
        return lines

    def compare(self, place, original, here):
        """Differences that no entry allows, as lines to print."""
        original, here = self.dropped(place, original), self.dropped(place, here)
        unexpected = []
        matcher = difflib.SequenceMatcher(None, original, here, autojunk=False)
        for tag, i, j, k, l in matcher.get_opcodes():
            if tag == "equal":
                continue
            if entry := self.allowing(place, original[i:j], here[k:l]):
                if entry.ends():
                    return unexpected
                continue
            # adjacent lines that differ may have an entry each
            pairs = [(i, j, k, l)] if j - i != l - k else [(i + n, i + n + 1, k + n, k + n + 1) for n in range(j - i)]
            for i, j, k, l in pairs:
                if not self.allowing(place, original[i:j], here[k:l]):
                    unexpected += [f"- {line}" for line in original[i:j]]
                    unexpected += [f"+ {line}" for line in here[k:l]]
        return unexpected

    def allowing(self, place, original, here):
        """The entry that allows these lines to differ, or None."""
        for entry in self.entries:
            covering = entry.covering(place)
            if covering and entry.allows(original, here):
                with self.lock:
                    entry.used |= covering
                    self.expected += 1
                return entry
        return None

    def stale(self, kinds, is_all):
        """Patterns of these kinds that have matched nothing."""
        return [
            f"{self.path.name}:{entry.line}: {pattern}"
            for entry in self.entries
            for pattern in entry.where
            if pattern not in entry.used and pattern.split()[0] in kinds
            and (is_all or pattern not in entry.rare)
        ]
