# SPDX-License-Identifier: BSD-3-Clause
#
# A program that takes the address of every function links and runs: shared and static, by what
# pkg-config says and nothing else.

. "$SCRIPTS/common.sh"

{
	printf '#include <librpma.h>\n#include <stdio.h>\n#include <string.h>\n\n'
	printf 'typedef void (*function)(void);\nstatic const function all[] = {\n'
	functions | awk -F '\t' '{ print "\t(function)" $1 "," }'
	cat <<-'END'
	};

	#ifdef OTHER
	int other_rust_library(void);
	#endif

	int main(void)
	{
		unsigned n = sizeof(all) / sizeof(all[0]);

		for (unsigned i = 0; i < n; i++)
			for (unsigned j = 0; j < i; j++)
				if (!all[i] || all[i] == all[j])
					return 1;
		if (strcmp(rpma_err_2str(RPMA_E_INVAL), "Invalid argument") != 0)
			return 2;
	#ifdef OTHER
		if (other_rust_library() != 42)
			return 3;
	#endif
		printf("%u functions\n", n);
		return 0;
	}
	END
} > program.c
echo "$(functions | wc -l) functions" > expected

run() {
	LD_LIBRARY_PATH="$STAGE/$LIBDIR" LD_BIND_NOW=1 "./$1" > actual || fail "$1 does not run (exit $?)"
	same "the words of $1" expected actual
}
cflags=$(pkg-config --cflags librpma)
libs=$(pkg-config --libs librpma)
warnings="-Wall -Wextra -Werror"
[ "$(pkg-config --modversion librpma)" = "$VERSION" ] || fail "pkg-config gives another version"

$CC $warnings program.c $cflags $libs -o shared
refers_to shared 'librpma\.so\.0' || fail "shared does not need librpma.so.0"
readelf -VW shared | grep -q 'Name: LIBRPMA_1\.0 ' || fail "shared does not ask for LIBRPMA_1.0"
run shared

# librpma itself static; libibverbs loads its drivers at run time, and usually stays shared.
$CC $warnings program.c $cflags $(echo "$libs" | sed 's/-lrpma/-l:librpma.a/') -o static
! refers_to static 'librpma\..*' || fail "static needs librpma.so"
run static

# All static, where libibverbs and the C library are there in that form. The linker warns of what
# glibc loads at run time even so.
if $CC -static -x c - $(pkg-config --static --libs libibverbs librdmacm) -o none 2> log <<-END
	int main(void) { return 0; }
	END
then
	$CC -static program.c $cflags $(pkg-config --static --libs librpma) -o all-static 2> log ||
		{ cat log >&2; fail "pkg-config --static is not enough"; }
	! readelf -dW all-static | grep NEEDED || fail "all-static is not static"
	run all-static
else
	echo "not tried: a program that is static altogether (no static libibverbs here)"
fi

# The archive beside another Rust archive, both taken whole: neither may define what the other does,
# and the other's panics must still be caught.
cat > other.rs <<-'END'
	#[no_mangle]
	pub extern "C" fn other_rust_library() -> i32 {
	    let caught = std::panic::catch_unwind(|| {
	        if std::env::args().count() < 100 {
	            panic!("expected");
	        }
	    });
	    if caught.is_err() { 42 } else { 1 }
	}
END
"$(dirname "$CARGO")/rustc" --crate-type staticlib -O other.rs -o libother.a
$CC -DOTHER program.c $cflags -Wl,--whole-archive libother.a "$archive" -Wl,--no-whole-archive \
	-libverbs -lrdmacm -lpthread -ldl -lm -o two-archives
run two-archives
