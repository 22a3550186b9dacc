# SPDX-License-Identifier: BSD-3-Clause
#
# Checks the dynamic section and the symbols of both libraries, with GNU readelf and nm.

. "$SCRIPTS/common.sh"

readelf -dW "$lib" > dynamic
# gold lists thread-local variables that stay local, too.
readelf --dyn-syms -W "$lib" | awk '$1 ~ /^[0-9]+:$/ && $5 != "LOCAL"' > symbols

grep -q '(SONAME).*\[librpma\.so\.0\]' dynamic || fail "the soname is not librpma.so.0"
grep -q 'BIND_NOW\|Flags:.* NOW' dynamic || fail "not linked with -z now"
readelf -lW "$lib" | grep -q GNU_RELRO || fail "not linked with -z relro"
! grep -E '\((RPATH|RUNPATH|TEXTREL)\)' dynamic || fail "the library has an RPATH or text relocations"
! readelf -lW "$lib" | grep 'GNU_STACK.*RWE' || fail "the library wants an executable stack"

# The dynamic loader holds __tls_get_addr, which Rust's thread-local variables use.
sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' dynamic | grep -Ev '^ld(-linux.*|64)\.so' | sort > actual
printf '%s\n' libc.so.6 libibverbs.so.1 librdmacm.so.1 > expected
same "the needed libraries" expected actual

# GNU ld and gold add each version node as an absolute symbol; lld does not.
awk '$7 != "UND" && $7 != "ABS" { print $8 }' symbols | sort > actual
functions | awk -F '\t' '{
	print $1 "@@LIBRPMA_1.0"
	n = split($4, nodes, " ")
	for (i = 1; i <= n; i++)
		if (nodes[i] != "-")
			print $1 "@" nodes[i]
}' | sort > expected
same "the exported symbols" expected actual
awk '$7 == "ABS" && $8 !~ /^LIBRPMA_[0-9.]+(@|$)/' symbols | grep . &&
	fail "absolute symbols other than the version nodes"
awk '$7 != "UND" && $7 != "ABS" && $4 != "FUNC"' symbols | grep . && fail "exported, but not functions"

# With a relocation by name, another library's function could replace that of an alias.
readelf -rW "$lib" | grep ' rpma_' && fail "the library calls its own functions through the PLT"

# The library's undefined symbols must have public version nodes of its three libraries. Weak
# symbols without a version are the C compiler's own hooks.
awk '$7 == "UND" && NF >= 8 && $5 == "GLOBAL" && $8 !~ /@(GLIBC_[0-9.]+|IBVERBS_[0-9.]+|RDMACM_[0-9.]+)$/' \
	symbols | grep . && fail "undefined symbols of other libraries"
awk '$7 == "UND" && NF >= 8 { print $8 }' symbols | sort > undefined
for prefix in ibv_ rdma_; do
	grep -q "^$prefix" undefined || fail "calls no ${prefix}* function: is this librpma?"
done
echo "calls of libibverbs and librdmacm:" $(grep -E '^(ibv|rdma)_' undefined)
echo "newest glibc asked for:" "$(sed -n 's/.*@GLIBC_//p' undefined | sort -V | tail -n 1)"

nm -g --defined-only "$archive" | awk 'NF == 3 { print $3 }' | sort > actual
functions | cut -f1 | sort > expected
same "the global symbols of librpma.a" expected actual
echo "$(wc -l < expected) functions, $(wc -c < "$lib") bytes shared, $(wc -c < "$archive") bytes static"
