# SPDX-License-Identifier: BSD-3-Clause
#
# Everything that Debian's librpma, the original 1.2.0 or 1.3.0, declares and exports is here too, and is the same.

. "$SCRIPTS/common.sh"

# In the build directory, where other tests have it too.
"$SCRIPTS/fetch-original" "$BUILD/original" || skip "see above"
original=$BUILD/original/usr
release=$(cat "$BUILD/original/release")
ours=$STAGE/$INCLUDEDIR

# exported LIBRARY
exported() {
	readelf --dyn-syms -W "$1" |
		awk '$1 ~ /^[0-9]+:$/ && $5 != "LOCAL" && $7 != "UND" && $7 != "ABS" { print $8 }' | sort
}
exported "$original/lib/x86_64-linux-gnu/librpma.so.0" > theirs
names_of "$release" | sort > expected
sed 's/@.*//' theirs > actual
same "the functions of $release, in the table and in the library," expected actual
exported "$lib" | comm -23 theirs - > missing
[ ! -s missing ] || fail "not exported:" $(cat missing)

# Macros: name, type and value, as a program prints them that was compiled with either header.
printf '#include <librpma.h>\n' > include.c
$CC -I"$original/include" -E -dM include.c | awk '/^#define RPMA_/ { print $2 }' | sort > macros
[ "$(wc -l < macros)" -gt 20 ] || fail "the original's macros are not found"
{
	cat <<-'END'
		#include <librpma.h>
		#include <stdio.h>
		#define TYPE(x) _Generic((x), int: "int", void *: "void *", default: "another type")
		static void show(const char *type, long long value) { printf("\t%s %lld\n", type, value); }
		int main(void)
		{
	END
	while read -r name; do
		echo "	puts(\"$name\"); show(TYPE($name), (long long)(size_t)$name);"
	done < macros
	echo "	return 0; }"
} > macros.c
$CC -I"$original/include" macros.c -o macros-theirs
$CC -I"$ours" macros.c -o macros-ours || fail "macros are missing"
./macros-theirs > theirs
./macros-ours > actual
same "the macros" theirs actual
echo "$(wc -l < macros) macros"

for tool in clang python3; do
	command -v $tool > /dev/null || skip "the declarations are not compared: no $tool here"
done
python3 "$SCRIPTS/compare-declarations.py" "$original/include" "$ours"
