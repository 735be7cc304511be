#!/bin/sh
# usage: deploy/get-axe.sh FILE
# Puts axe-core, which finds what keeps people out of a page, at FILE, unless it is there. It comes from the npm registry and is checked
# against the sum below: by npm, where there is npm, and its settings for mirrors and proxies; otherwise by Python 3.
set -eu

version=4.14.1
sha256=29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c

die() { echo "get-axe: $*" >&2; exit 1; }
is_right() { [ -f "$1" ] && [ "$(sha256sum <"$1" | cut -d ' ' -f 1)" = $sha256 ]; }

[ $# -eq 1 ] || die "usage: $0 FILE"
dest=$1
is_right "$dest" && exit 0

# Beside FILE, so that the last step is a rename: there is never half a file.
mkdir -p "$(dirname "$dest")"
work=$(mktemp -d "$(dirname "$dest")/.get-axe.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

by_npm() { command -v npm >/dev/null && npm pack --silent --pack-destination "$work" "axe-core@$version" >/dev/null; }
by_python() {
	python3 -c 'import sys, urllib.request; urllib.request.urlretrieve(*sys.argv[1:])' \
		"https://registry.npmjs.org/axe-core/-/axe-core-$version.tgz" "$work/axe-core-$version.tgz"
}

echo "get-axe: fetching axe-core $version from the npm registry" >&2
by_npm || by_python || die "no axe-core: see above; or put axe.min.js of $version at $dest"
tar -xzf "$work/axe-core-$version.tgz" -C "$work" package/axe.min.js
is_right "$work/package/axe.min.js" || die "axe.min.js of $version is another than it was: not using it"
mv -f "$work/package/axe.min.js" "$dest"
