# SPDX-License-Identifier: BSD-3-Clause
#
# The C programs in README.md and doc/getting-started.md are what they say: they compile without a warning, move the
# text over softrdma and release everything. The pictures are those that their texts describe.

. "$SCRIPTS/common.sh"

# program FILE NUMBER: that program in C of a Markdown file, the first one being 1
program() {
	awk -v wanted="$2" '/^```c$/ { n++; inside = n == wanted; next } /^```$/ { inside = 0 } inside' "$1"
}

program "$SOURCE/doc/getting-started.md" 1 > server.c
program "$SOURCE/doc/getting-started.md" 2 > client.c
program "$SOURCE/README.md" 1 > readme.c
same "the clients in doc/getting-started.md and README.md" client.c readme.c
for name in server client; do
	[ -s $name.c ] || fail "no $name in doc/getting-started.md"
	$CC -O2 -Wall -Wextra -Werror $name.c $(pkg-config --cflags --libs librpma) -o $name || fail "$name does not compile"
done

if command -v python3 > /dev/null; then
	"$SOURCE/scripts/pictures" --check || fail "the pictures"
else
	echo "not checked: the pictures (no python3 here)"
fi

[ "$CROSS" != TRUE ] || skip "the programs are for another processor"
softrdma=$STAGE/bin/softrdma
[ -x "$softrdma" ] || skip "softrdma was not built"

# on_softrdma PROGRAM...: on standard error it says what it has not released
on_softrdma() {
	LD_LIBRARY_PATH="$STAGE/$LIBDIR" timeout 60 "$softrdma" run --leaks -- "$@"
}

# The server says when it listens. It fails where another program has the port: then the next one is tried.
port=20000
line=
mkfifo pipe
while [ -z "$line" ]; do
	port=$((port + 1))
	[ $port -lt 20200 ] || { cat server.err >&2; fail "the server listens on no port"; }
	on_softrdma ./server 127.0.0.1 $port > pipe 2> server.err &
	server=$!
	exec 3< pipe
	read -r line <&3 || wait $server || true
done
[ "$line" = "listening on 127.0.0.1, port $port" ] || fail "the server says: $line"
on_softrdma ./client 127.0.0.1 $port "hello over there" > client.out 2> client.err ||
	{ cat client.err >&2; fail "the client"; }
cat <&3 > server.out
wait $server || { cat server.err >&2; fail "the server"; }

echo "the client has written: hello over there" > expected
same "the words of the server" expected server.out
echo "written and flushed" > expected
same "the words of the client" expected client.out
for name in server client; do
	[ ! -s $name.err ] || { cat $name.err >&2; fail "the $name complains"; }
done
