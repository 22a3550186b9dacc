# SPDX-License-Identifier: BSD-3-Clause
"""Compares what two librpma.h declare, as clang reads them.

usage: compare-declarations.py ORIGINAL_INCLUDE_DIR OUR_INCLUDE_DIR

Every declaration of the original must be in ours: functions and typedefs with the same type, enums with
the same members and values, structs with the same members, opaque structs still opaque.
"""

import json
import subprocess
import sys

# What stands after the mark is librpma.h's own: its includes are read before.
SOURCE = """
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <infiniband/verbs.h>
extern int mark;
#include <librpma.h>
"""


def enumerators(node):
    members, value = {}, -1
    for member in node.get("inner", []):
        if member["kind"] != "EnumConstantDecl":
            continue
        explicit = [e["value"] for e in member.get("inner", []) if e["kind"] == "ConstantExpr"]
        value = int(explicit[0]) if explicit else value + 1
        members[member["name"]] = value
    return members


def describe(node):
    """What must be the same in both headers, or None for a node that says nothing."""
    if node["kind"] in ("FunctionDecl", "TypedefDecl"):
        return node["type"]["qualType"]
    if node["kind"] == "EnumDecl":
        return enumerators(node)
    if node["kind"] == "RecordDecl":
        if not node.get("completeDefinition"):
            return "opaque"
        return [(f["name"], f["type"]["qualType"], f.get("isBitfield", False))
                for f in node["inner"] if f["kind"] == "FieldDecl"]
    return None


def declarations(include_dir):
    ast = subprocess.run(
        ["clang", "-std=gnu11", "-I", include_dir, "-fsyntax-only", "-Xclang", "-ast-dump=json", "-xc", "-"],
        input=SOURCE, stdout=subprocess.PIPE, check=True, encoding="utf-8").stdout
    nodes = json.loads(ast)["inner"]
    mark = next(i for i, node in enumerate(nodes) if node.get("name") == "mark")
    found = {}
    for node in nodes[mark + 1:]:
        what = describe(node)
        if what is None or "name" not in node:
            continue
        key = (node["kind"], node["name"])
        # A struct may be declared first and defined later.
        if found.get(key, "opaque") == "opaque":
            found[key] = what
        elif what not in ("opaque", found[key]):
            sys.exit(f"{key} is declared twice: {found[key]} and {what}")
    return found


def main():
    theirs, ours = (declarations(directory) for directory in sys.argv[1:3])
    functions = [name for kind, name in theirs if kind == "FunctionDecl"]
    if len(functions) != 84:
        sys.exit(f"the original should declare 84 functions, not {len(functions)}")
    wrong = 0
    for key, expected in theirs.items():
        actual = ours.get(key, "nothing")
        if actual != expected:
            wrong += 1
            print(f"FAILED: {key[0]} {key[1]}\n  original: {expected}\n  here:     {actual}")
    print(f"{len(theirs)} declarations of the original, {wrong} differ; {len(ours)} here")
    sys.exit(wrong != 0)


main()
