# SPDX-License-Identifier: BSD-3-Clause
#
# What packaging/ says of the library is so: the version, and Debian's list of symbols, which is what
# abi/functions.tsv gives and, as dpkg-gensymbols sees it, what the library exports.

. "$SCRIPTS/common.sh"

debian=$SOURCE/packaging/debian
version=$(sed -n '1s/^librpma (\([0-9.]*\)-.*/\1/p' "$debian/changelog")
[ "$version" = "$VERSION" ] || fail "packaging/debian/changelog is of version '$version', Cargo.toml of $VERSION"
spec=$SOURCE/packaging/librpma.spec
if [ -f "$spec" ]; then
	version=$(sed -n 's/^Version: *//p' "$spec")
	[ "$version" = "$VERSION" ] || fail "packaging/librpma.spec is of version '$version', Cargo.toml of $VERSION"
fi

sh "$debian/make-symbols" > expected
same "the symbols in packaging/debian/librpma0.symbols" expected "$debian/librpma0.symbols"
[ "$(grep -c '^ rpma_' expected)" = "$(functions | awk -F '\t' '{ n++; gsub("-", "", $4); n += split($4, node, " ") }
	END { print n }')" ] || fail "make-symbols leaves names out"

command -v dpkg-gensymbols > /dev/null || skip "no dpkg-gensymbols here (package dpkg-dev)"
mkdir debian
cp "$debian/control" debian
# lld adds no symbols of the nodes themselves, so only what is rpma_*; -c4: missing and new ones are errors
grep -v '^ LIBRPMA_' expected > symbols
dpkg-gensymbols -plibrpma0 -v"$VERSION" -e"$lib" -Isymbols -Oout -c0 > log 2>&1 || { cat log >&2; fail "dpkg-gensymbols"; }
grep '^[-+][^-+]' log | grep -v '^[-+] LIBRPMA_' >&2 && fail "the library exports something else"
echo "$(grep -c '^ rpma_' out) symbols"
