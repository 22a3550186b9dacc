# SPDX-License-Identifier: BSD-3-Clause
#
# Another CMake project takes librpma's sources in, by add_subdirectory and by FetchContent: it gets both
# libraries and nothing else, and keeps its cache, its build type and its list of installed files to itself.

. "$SCRIPTS/common.sh"

# configure BUILD_DIR OPTIONS...
configure() {
	directory=$1
	shift
	"$CMAKE" -S "$SCRIPTS/parent" -B "$directory" -DLIBRPMA_SOURCE="$SOURCE" -DCMAKE_C_COMPILER="$CC" \
		-DRPMA_CARGO="$CARGO" "$@" > log 2>&1 || { cat log >&2; fail "$directory: configure"; }
	# What CMake itself keeps, what project() writes for each project, and the parent's own.
	sed -n 's/^\([A-Za-z][^:-]*\):[A-Z]*=.*/\1/p' "$directory/CMakeCache.txt" |
		grep -Ev '^(CMAKE_.*|FETCHCONTENT_.*|(parent|librpma)_(BINARY_DIR|SOURCE_DIR|IS_TOP_LEVEL|LIB_DEPENDS)|rpma_LIB_DEPENDS)$' |
		grep -Ev '^(BUILD_TESTS|CARGO_FLAGS|LIBRPMA_SOURCE|FETCH)$' > cache || true
	grep -q '^RPMA_BUILD_TESTS$' cache || fail "$directory: librpma's options are not in the cache"
	! grep -v '^RPMA_' cache >&2 || fail "$directory: librpma wrote these into the parent's cache"
	grep -qx 'CMAKE_BUILD_TYPE:STRING=' "$directory/CMakeCache.txt" || [ "$directory" = added ] ||
		fail "$directory: librpma chose the parent's build type"
}

configure added -DCMAKE_BUILD_TYPE=Debug
"$CMAKE" --build added > log 2>&1 || { cat log >&2; fail "build"; }
for program in shared static; do
	added/$program > "said-by-$program" || fail "$program"
	[ -s "said-by-$program" ] || fail "$program says nothing"
done
same "the words of both programs" said-by-shared said-by-static
refers_to added/shared 'librpma\.so\.0' || fail "shared does not need librpma"
! refers_to added/static 'librpma\..*' || fail "static needs librpma"
! readelf -dW added/librpma/librpma.so.0 | grep -E '\((RPATH|RUNPATH)\)' || fail "the library took the parent's RPATH"
find added -name '*softrdma*' -path '*/bin/*' -o -name 'test-*' -perm -u+x -type f -o -name server -type f > other
[ ! -s other ] || fail "these were built without being asked for:" $(cat other)

# Installed: the parent's program alone, unless it asks for the library.
"$CMAKE" --install added --prefix "$WORK/without" > log
(cd without && find . ! -type d) > files
echo ./bin/shared > expected
same "the parent's installed files" expected files
"$CMAKE" added -DRPMA_INSTALL=ON > log
"$CMAKE" --install added --prefix "$WORK/with" > log 2>&1 || { cat log >&2; fail "install"; }
[ -f "with/$LIBDIR/librpma.so.0" ] || fail "RPMA_INSTALL does not install the library"
[ -f "with/$LIBDIR/cmake/librpma/librpma-config.cmake" ] || fail "RPMA_INSTALL does not install the CMake package"
! readelf -dW "with/$LIBDIR/librpma.so.0" | grep -E '\((RPATH|RUNPATH)\)' ||
	fail "the installed library took the parent's RPATH"

configure fetched -DFETCH=ON

# At the top level the options have older names, too; the last one given counts, and none is called unused.
set -- -S "$SOURCE" -B older -DCMAKE_C_COMPILER="$CC"
"$CMAKE" "$@" -DBUILD_TESTS=OFF -DBUILD_EXAMPLES=OFF -DCARGO="$CARGO" > log 2>&1 || { cat log >&2; fail "older names"; }
! grep -i warning log >&2 || fail "older names: a warning"
"$CMAKE" "$@" -DBUILD_EXAMPLES=ON > log 2>&1 || { cat log >&2; fail "older names, again"; }
"$CMAKE" "$@" -DRPMA_BUILD_SOFTRDMA=OFF > log 2>&1 || { cat log >&2; fail "newer names after older ones"; }
sed -n 's/^\(RPMA_\)\{0,1\}\(BUILD_[A-Z]*\|CARGO\):[A-Z]*=/\1\2=/p' older/CMakeCache.txt | sort > actual
printf '%s\n' RPMA_BUILD_EXAMPLES=ON RPMA_BUILD_SOFTRDMA=OFF RPMA_BUILD_TESTS=OFF RPMA_BUILD_TOOLS=ON "RPMA_CARGO=$CARGO" |
	sort > expected
same "the options after older names" expected actual
