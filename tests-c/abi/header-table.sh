# SPDX-License-Identifier: BSD-3-Clause
#
# librpma.h declares what is in abi/functions.tsv and abi/types.tsv, and no other constants: every row
# becomes an assertion that the C compiler checks.

. "$SCRIPTS/common.sh"

{
	printf '#include <librpma.h>\n#include <stddef.h>\n'
	echo '#define SAME(a, b) _Static_assert(__builtin_types_compatible_p(a, b), #a)'
	echo '#define EQUAL(a, b) _Static_assert((a) == (b), #a)'

	# int rpma_x(int a) has the type int (int a)
	functions | awk -F '\t' '{
		type = $5
		sub($1 "\\(", "(", type)
		print "SAME(__typeof__(" $1 "), " type ");"
	}'

	grep -v '^#' "$SOURCE/abi/types.tsv" | awk -F '\t' '
	# Usable in #if, and of type int, except for null pointers.
	$1 == "constant" {
		print "#ifndef " $3 "\n#error " $3 " is not a macro\n#endif"
		if ($4 == "(NULL)") {
			print "SAME(__typeof__(" $3 "), void *);"
			# A null pointer constant, not just any void *, takes the type of the other branch.
			print "SAME(__typeof__(1 ? (int *)0 : " $3 "), int *);"
		} else {
			print "#if " $3 " != " $4 "\n#error " $3 "\n#endif"
			print "SAME(__typeof__(" $3 "), int);"
			print "EQUAL(1 - " $3 ", 1 - " $4 ");"
		}
		next
	}
	$1 == "enum member" {
		print "EQUAL(" $3 ", " $4 "); EQUAL(sizeof(" $2 "), sizeof(int));"
		next
	}
	# Offsets and sizes are those of machines with 64 bits.
	$1 == "struct member" {
		print "SAME(__typeof__(((" $2 " *)0)->" $3 "), " $4 ");"
		print "#ifdef __LP64__"
		split($5, note, /[ ;,]+/)
		print "EQUAL(offsetof(" $2 ", " $3 "), " note[2] ");"
		if ($5 ~ /struct size/ && $5 !~ /in 0\.9\.0/) {
			sub(/.*struct size /, "", $5)
			print "EQUAL(sizeof(" $2 "), " $5 ");"
			sizes++
		}
		print "#endif"
		structs[$2] = 1
		next
	}
	$1 == "function type" { print "SAME(" $3 ", " $4 ");"; next }
	# A second definition is an error if the header has one.
	$1 == "opaque struct" { print $3 " { int member; };"; next }
	{ print "#error not understood: " $0 }
	END {
		for (s in structs) n++
		if (n == 0 || n != sizes)
			print "#error a struct without its size in the table"
	}'
} > table.c

for compiler in "$CC" clang; do
	command -v "$compiler" > /dev/null || continue
	$compiler -std=gnu11 -Wall -Werror -I"$STAGE/$INCLUDEDIR" -fsyntax-only table.c ||
		fail "$compiler: the header and the tables disagree"
done
# Every macro of the header and every member of its enums is a row, so that no value is without an assertion.
header=$STAGE/$INCLUDEDIR/librpma.h
{
	echo '#include <librpma.h>' | $CC -I"$STAGE/$INCLUDEDIR" -dM -E - | awk '$2 ~ /^RPMA_/ { print $2 }'
	sed -n 's/^[[:space:]]*\(RPMA_[A-Z0-9_]*\)\( = [^,]*\)\{0,1\},\{0,1\}$/\1/p' "$header"
} | sort > declared
awk -F '\t' '$1 == "constant" || $1 == "enum member" { print $3 }' "$SOURCE/abi/types.tsv" | sort > listed
same "the constants of librpma.h" listed declared
[ "$(wc -l < declared)" -gt 40 ] || fail "hardly any constants in $header"

echo "$(grep -c '^SAME' table.c) types, $(grep -c '^EQUAL' table.c) values"
