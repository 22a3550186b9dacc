# SPDX-License-Identifier: BSD-3-Clause
#
# Another CMake project finds the installed library, links both forms of it and runs; so it does when the
# installed tree was moved to another directory.

. "$SCRIPTS/common.sh"

# use PREFIX: build and run the project against it
use() {
	"$CMAKE" -S "$SCRIPTS/downstream" -B "build-$(basename "$1")" -DCMAKE_PREFIX_PATH="$1" \
		-DCMAKE_C_COMPILER="$CC" -DCMAKE_FIND_USE_PACKAGE_REGISTRY=OFF > log 2>&1 ||
		{ cat log >&2; fail "$1: find_package"; }
	"$CMAKE" --build "build-$(basename "$1")" > log 2>&1 || { cat log >&2; fail "$1: build"; }
	for program in shared static; do
		(cd "build-$(basename "$1")" && ./$program) > "said-by-$program" || fail "$1: $program"
		[ -s "said-by-$program" ] || fail "$1: $program says nothing"
	done
	same "the words of both programs" said-by-shared said-by-static
	refers_to "build-$(basename "$1")/shared" 'librpma\.so\.0' || fail "$1: shared does not need librpma"
	! refers_to "build-$(basename "$1")/static" 'librpma\..*' || fail "$1: static needs librpma"

	export PKG_CONFIG_PATH="$1/$LIBDIR/pkgconfig"
	$CC "$SCRIPTS/downstream/main.c" $(pkg-config --cflags --libs librpma) -Wl,-rpath,"$1/$LIBDIR" -o by-pc
	./by-pc > said-by-pc || fail "$1: by pkg-config"
	same "the words of the program linked by pkg-config" said-by-shared said-by-pc
}

cp -a "$STAGE" first
use "$WORK/first"
mkdir moved
mv first moved/second
use "$WORK/moved/second"

# A prefix without the package is refused, so the two above were not found elsewhere.
mkdir empty
if "$CMAKE" -S "$SCRIPTS/downstream" -B build-empty -DCMAKE_PREFIX_PATH="$WORK/empty" \
	-DCMAKE_C_COMPILER="$CC" > log 2>&1; then
	skip "a librpma installed on this system is found even without a prefix"
fi
