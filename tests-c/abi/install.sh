# SPDX-License-Identifier: BSD-3-Clause
#
# Installs into the stage that the other tests look at, once by prefix and once by DESTDIR: the same
# files must be there, and no file may name the prefix or a directory of the builder. The components are parts
# of these files, uninstalling removes all of them, and cpack makes an archive of each component.

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

# Each file belongs to one component.
parts=
for component in Runtime Development softrdma tools; do
	DESTDIR=$WORK/$component "$CMAKE" --install "$BUILD" --prefix /p --component $component > log
	[ ! -d "$component/p" ] || (cd "$component/p" && find . ! -type d | sort) > "files-$component"
	[ ! -f "files-$component" ] || parts="$parts files-$component"
done
sort $parts > actual
same "the files of all components" expected actual
echo "./$LIBDIR/librpma.so.0" > runtime
same "the files of the component Runtime" runtime files-Runtime
for file in "$LIBDIR/librpma.so" "$LIBDIR/librpma.a" "$INCLUDEDIR/librpma.h" "$LIBDIR/pkgconfig/librpma.pc"; do
	grep -qxF "./$file" files-Development || fail "$file is not in the component Development"
done
# No linker and no ldconfig finds softrdma's library.
if [ -f files-softrdma ]; then
	grep -qxF "./$LIBDIR/softrdma/libsoftrdma.so" files-softrdma || fail "libsoftrdma.so has no directory of its own"
	for name in libibverbs.so.1 librdmacm.so.1; do
		[ "$(readlink "$STAGE/$LIBDIR/softrdma/sonames/$name")" = ../libsoftrdma.so ] ||
			fail "softrdma does not stand under the name $name"
	done
	[ "$CROSS" = TRUE ] || [ "$(LD_LIBRARY_PATH=/other "$STAGE/bin/softrdma" run -- sh -c 'echo "$LD_LIBRARY_PATH"')" = \
		"$STAGE/$LIBDIR/softrdma/sonames:/other" ] || fail "softrdma does not put its names in front of the others"
	[ "$CROSS" = TRUE ] || [ "$("$STAGE/bin/softrdma" run -- sh -c 'echo "$LD_PRELOAD"')" = \
		"$STAGE/$LIBDIR/softrdma/libsoftrdma.so" ] || fail "the installed softrdma does not find its library"
fi

# A file that librpma did not install stays, and so does its directory.
"$CMAKE" --install "$BUILD" --prefix "$WORK/removed" > log
for manifest in "$BUILD"/install_manifest_*.txt; do
	rm -f "$manifest"
done
echo 'the administrator wrote this' > "removed/$LIBDIR/cmake/librpma/note"
"$CMAKE" --build "$BUILD" --target uninstall > log 2>&1 || { cat log >&2; fail "uninstall"; }
(cd removed && find . ! -type d) > actual
echo "./$LIBDIR/cmake/librpma/note" > expected
same "the files left after uninstalling" expected actual
[ ! -d "removed/$LIBDIR/softrdma" ] || fail "uninstalling leaves an empty directory"
! "$CMAKE" --build "$BUILD" --target uninstall > log 2>&1 || fail "uninstalls what is not installed"
grep -q 'Nothing was installed' log || fail "uninstalling again fails for another reason"

# It builds first; another PKG_CONFIG_PATH than the build had would make cargo compile all anew.
env -u PKG_CONFIG_PATH "$(dirname "$CMAKE")/cpack" --config "$BUILD/CPackConfig.cmake" -B "$WORK/cpack" > log 2>&1 ||
	{ cat log >&2; fail "cpack"; }
archive=$(ls "$WORK"/cpack/librpma-"$VERSION"-*-Runtime.tar.gz) || fail "cpack makes no archive of Runtime"
tar -tf "$archive" | grep -q '/librpma\.so\.0$' || fail "the library is not in cpack's archive"

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
