#!/bin/sh
# Prints the licences of postern and of all that is linked into it, which ask to be passed on with it. A module without one is an error.
set -eu
cd "$(dirname "$0")/.."
modules="$(go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}}@{{.Version}} {{.Dir}}{{end}}{{end}}' ./cmd/postern | sort -u)"
show() { # NAME FILE...
	name="$1" found=
	shift
	for file in "$@"; do
		[ -f "$file" ] || continue
		found=1
		printf '==== %s: %s\n\n' "$name" "${file##*/}"
		cat "$file"
		echo
	done
	[ "$found" ] || { echo "deploy/licenses.sh: $name has no licence file: find out what it is under" >&2; exit 1; }
}
show "Postern" LICENSE
goroot="$(go env GOROOT)"
show "Go" "$goroot/LICENSE" "$goroot/PATENTS"
echo "$modules" | while read -r name dir; do
	# Some modules are folders of a repository, and have the licence of the whole in their own folder: the Go command puts it there.
	show "$name" "$dir"/LICEN[CS]E* "$dir"/COPYING* "$dir"/NOTICE* "$dir"/PATENTS*
done
