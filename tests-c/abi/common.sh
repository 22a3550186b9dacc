# SPDX-License-Identifier: BSD-3-Clause
#
# Sourced by the tests of this directory. CMakeLists.txt sets directories: SOURCE, BUILD, STAGE (the
# installed prefix), WORK (this test's directory, emptied here), VERSION and so on.

set -eu
export LC_ALL=C

fail() {
	echo "FAILED: $*" >&2
	exit 1
}

# For tools that this machine lacks, never for something that the library lacks.
skip() {
	echo "SKIPPED: $*" >&2
	exit 77
}

# same WHAT EXPECTED ACTUAL: two files must be equal
same() {
	diff -u "$2" "$3" >&2 || fail "$1 differ from what is expected (lines with -: missing, +: too many)"
}

# The table's rows: name, first release, last release, older nodes, prototype
functions() {
	grep '^rpma_' "$SOURCE/abi/functions.tsv"
}

# names_of RELEASE: the functions of that release
names_of() {
	functions | awk -F '\t' -v release="$1" '
		function number(version, part) { split(version, part, "."); return part[1] * 1000 + part[2] }
		number($2) <= number(release) && number(release) <= number($3) { print $1 }'
}

# refers_to FILE LIBRARY: the file asks the loader for that library
refers_to() {
	readelf -dW "$1" | grep -q "(NEEDED).*\[$2\]"
}

rm -rf "$WORK"
mkdir -p "$WORK"
cd "$WORK"

lib=$STAGE/$LIBDIR/librpma.so.0
archive=$STAGE/$LIBDIR/librpma.a
export PKG_CONFIG_PATH="$STAGE/$LIBDIR/pkgconfig"
