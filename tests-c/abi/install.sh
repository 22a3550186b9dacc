# SPDX-License-Identifier: BSD-3-Clause
#
# Installs into the stage that the other tests look at, once by prefix and once by DESTDIR: the same
# files must be there, and no file may name the build, the source or the prefix.

. "$SCRIPTS/common.sh"

case $STAGE in
*[[:space:]]*) fail "these tests want a build directory without spaces in its name (a build does not)" ;;
esac

rm -rf "$STAGE"
"$CMAKE" --install "$BUILD" --prefix "$STAGE" > log

for file in "$LIBDIR/librpma.so.0" "$LIBDIR/librpma.a" "$INCLUDEDIR/librpma.h" \
	"$LIBDIR/pkgconfig/librpma.pc" "$LIBDIR/cmake/librpma/librpma-config.cmake"; do
	[ -f "$STAGE/$file" ] && [ ! -L "$STAGE/$file" ] || fail "$file is not installed as a file"
done
[ "$(readlink "$STAGE/$LIBDIR/librpma.so")" = librpma.so.0 ] || fail "librpma.so is not a link"

DESTDIR=$WORK/dest "$CMAKE" --install "$BUILD" --prefix /some/prefix > log
(cd "$STAGE" && find . ! -type d | sort) > expected
(cd "$WORK/dest/some/prefix" && find . ! -type d | sort) > actual
same "files installed below DESTDIR" expected actual

# Debug information names source files by right.
if ! readelf -SW "$lib" | grep -q '\.debug_info'; then
	for path in "$BUILD" "$SOURCE" "$STAGE"; do
		! grep -rlF -e "$path" "$STAGE" || fail "these files name $path"
	done
fi
