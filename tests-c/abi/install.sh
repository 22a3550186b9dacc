# SPDX-License-Identifier: BSD-3-Clause
#
# Installs into the stage that the other tests look at, once by prefix and once by DESTDIR: the same
# files must be there, and no file may name the prefix or a directory of the builder.

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

# Builds of the types Debug and RelWithDebInfo have debug information that names source files where they lie.
if [ "$BUILD_TYPE" != Debug ] && [ "$BUILD_TYPE" != RelWithDebInfo ]; then
	home=$(cd ~ && pwd -P)
	sysroot=$(PATH=$(dirname "$CARGO"):$PATH rustc --print sysroot)
	[ "$sysroot" != /usr ] || sysroot=
	for path in "$BUILD" "$SOURCE" "$STAGE" "${CARGO_HOME:-$home/.cargo}" "$sysroot" "$home/"; do
		case $path in
		/ | '') continue ;;
		esac
		! grep -rlF -e "$path" "$STAGE" || fail "these files name $path"
	done
	# Messages of panics name source files, so there is something to look at, which begins in the right place.
	strings "$lib" | grep -q '^src/.*\.rs' || fail "$lib names no source file as src/..."
fi
