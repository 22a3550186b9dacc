# SPDX-License-Identifier: BSD-3-Clause
#
# librpma.h compiles alone, and twice, in the dialects of C and C++ that programs use, without a warning.

. "$SCRIPTS/common.sh"

printf '#include <librpma.h>\n#include <librpma.h>\nint main(void);\n' > header.c
cp header.c header.cc
include=$STAGE/$INCLUDEDIR
warnings="-Wall -Wextra -Wundef -Wstrict-prototypes -pedantic -Werror"

# compilers NAME...: those of them that are here
compilers() {
	for compiler; do
		command -v "$compiler" > /dev/null && echo "$compiler"
	done
	true
}

for compiler in "$CC" $(compilers gcc clang); do
	for std in c99 gnu99 c11 gnu17; do
		$compiler -std=$std $warnings -I "$include" -fsyntax-only header.c || fail "$compiler, $std"
	done
	echo "$compiler: C"
done

cplusplus=$(compilers c++ g++ clang++)
[ -n "$cplusplus" ] || skip "no C++ compiler"
cat > program.cc <<-'END'
	#include <librpma.h>
	#include <cstring>
	int main() { return std::strcmp(rpma_err_2str(RPMA_E_NOMEM), "Out of memory"); }
END
for compiler in $cplusplus; do
	for std in c++11 c++17 gnu++20; do
		$compiler -std=$std -Wall -Wextra -Wundef -pedantic -Werror -I "$include" -fsyntax-only header.cc ||
			fail "$compiler, $std"
	done
	$compiler program.cc $(pkg-config --cflags --libs librpma) -o program
	LD_LIBRARY_PATH="$STAGE/$LIBDIR" ./program || fail "the C++ program does not run"
	echo "$compiler: C++"
done
