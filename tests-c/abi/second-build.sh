# SPDX-License-Identifier: BSD-3-Clause
#
# A build in a second directory does not change the first, and a build without changes rebuilds
# nothing. The second one is of type Debug, and is linked by each linker that is here: its symbols must be
# the same.

. "$SCRIPTS/common.sh"

# products DIRECTORY: the files that a build makes, with times
products() {
	(cd "$1" && ls -l --time-style=full-iso librpma.so.0 librpma.a librpma.map older-nodes.c \
		$(find cargo -maxdepth 3 -name librpma.a))
}

build() {
	"$CMAKE" --build "$1" > log 2>&1 || { cat log >&2; fail "build $1"; }
}

products "$BUILD" > before

"$CMAKE" -S "$SOURCE" -B second -DCMAKE_BUILD_TYPE=Debug -DRPMA_BUILD_TESTS=OFF -DRPMA_BUILD_EXAMPLES=OFF \
	-DRPMA_BUILD_SOFTRDMA=OFF -DRPMA_BUILD_TOOLS=OFF \
	-DCMAKE_INSTALL_LIBDIR="$LIBDIR" -DCMAKE_INSTALL_INCLUDEDIR="$INCLUDEDIR" \
	-DCMAKE_C_COMPILER="$CC" -DRPMA_CARGO="$CARGO" > log 2>&1 || { cat log >&2; fail "configure"; }
build second
[ -f second/cargo/debug/librpma.a ] || fail "Debug is not built by cargo's profile dev"
products second > second-before
sleep 1.1
build second
products second > second-after
same "the products of a build of what did not change" second-before second-after

for linker in bfd gold lld; do
	command -v ld.$linker > /dev/null || continue
	"$CMAKE" second -DCMAKE_SHARED_LINKER_FLAGS=-fuse-ld=$linker > log
	build second
	"$CMAKE" --install second --prefix "$WORK/stage-$linker" > log
	STAGE=$WORK/stage-$linker WORK=$WORK/symbols-$linker sh "$SCRIPTS/symbols.sh" ||
		fail "linked by ld.$linker"
	echo "linked by ld.$linker"
done
products second > second-after
! cmp -s second-before second-after || fail "another linker made the same file: is this test asleep?"

products "$BUILD" > after
same "the products of the first build" before after
