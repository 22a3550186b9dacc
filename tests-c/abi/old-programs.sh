# SPDX-License-Identifier: BSD-3-Clause
#
# Programs that were built against each release of librpma start with this library. For every release, a
# stand-in library is built, with the functions and the version node that it had, and a program that
# refers to all of them.

. "$SCRIPTS/common.sh"

# stand_in DIRECTORY NODE < names: a librpma.so.0 with these functions in this node
stand_in() {
	mkdir -p "$1"
	awk '$1 != "rpma_err_2str" { print "int " $1 "(void) { return 0; }" }
		END { print "const char *rpma_err_2str(int e) { (void)e; return \"stand-in\"; }" }' > "$1/lib.c"
	echo "$2 { global: rpma_*; local: *; };" > "$1/lib.map"
	$CC -shared -fPIC -Wl,-soname,librpma.so.0 -Wl,--version-script="$1/lib.map" "$1/lib.c" \
		-o "$1/librpma.so.0"
	ln -sf librpma.so.0 "$1/librpma.so"
}

# run PROGRAM DIRECTORY: run it with the library in that directory
run() {
	LD_LIBRARY_PATH=$2 LD_BIND_NOW=1 $EMULATOR "$1" > out 2> err
}

names_of 1.3.0 | stand_in unknown-node LIBRPMA_9.9

for release in 0.9.0 0.10.0 0.11.0 0.12.0 0.13.0 0.14.0 1.0.0 1.1.0 1.2.0 1.3.0; do
	case $release in
	0.1*) node=LIBRPMA_${release%.0} ;;
	*) node=LIBRPMA_1.0 ;;
	esac
	names_of "$release" > names

	# The table has this twice; the library is made from the column of version nodes.
	if [ $node != LIBRPMA_1.0 ]; then
		functions | awk -F '\t' -v node=$node 'index($4 " ", node " ") { print $1 }' > in-node
		same "the functions of $release and those of $node in the table" names in-node
	fi

	stand_in "$release" $node < names
	{
		echo 'int puts(const char *);'
		sed '/^rpma_err_2str$/d; s/.*/extern void &(void);/' names
		echo 'const char *rpma_err_2str(int);'
		echo 'void (*volatile all[])(void) = {'
		sed 's/.*/	(void (*)(void))&,/' names
		echo '};'
		echo 'int main(void) { return puts(rpma_err_2str(-100004)) < 0 || !all[0]; }'
	} > "$release/program.c"
	$CC "$release/program.c" -L"$release" -lrpma -o "$release/program"
	readelf -VW "$release/program" | grep -q "Name: $node " || fail "the program does not ask for $node"

	# The program works with its own library, and fails with one that lacks its symbols.
	run "$release/program" "$release" || fail "$release: not even with the stand-in: $(cat err)"
	[ "$(cat out)" = stand-in ] || fail "$release: the stand-in is not what runs"
	! run "$release/program" unknown-node || fail "$release: starts without $node"
	grep -q "version .$node' not found" err || fail "$release: refused for another reason: $(cat err)"
	sed '/^rpma_read$/d' names | stand_in "$release/lacking" $node
	! run "$release/program" "$release/lacking" || fail "$release: starts without rpma_read"
	grep -q 'undefined symbol: rpma_read' err || fail "$release: refused for another reason: $(cat err)"

	run "$release/program" "$STAGE/$LIBDIR" || fail "$release: does not start: $(cat err)"
	[ ! -s err ] || fail "$release: the loader says: $(cat err)"
	[ "$(cat out)" = "Invalid argument" ] || fail "$release: rpma_err_2str gives '$(cat out)'"
	echo "$release: $(wc -l < names) functions of $node"
done
