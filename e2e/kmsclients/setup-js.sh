#!/bin/sh
# Installs JavaScript packages, those of the package.json in the directory that is
# named or beside this file, in the versions and with the digests of
# package-lock.json, once per lock file and outside the tree; prints the directory
# to import them from. The versions are the last ones that run on Debian 12's
# Node 18. No package's scripts are run.
set -eu
cd "${1:-$(dirname "$0")}"
cache=${SIDEKEY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sidekey}
modules=$cache/npm-$(cat package.json package-lock.json | sha256sum | cut -c 1-16)
if [ ! -d "$modules" ]; then
	new=$modules.new.$$
	mkdir -p "$new"
	trap 'rm -rf "$new"' EXIT
	cp package.json package-lock.json "$new"
	echo "installing JavaScript packages, once" >&2
	npm ci --prefix "$new" --ignore-scripts --no-audit --no-fund >&2
	mv -T "$new" "$modules" 2>/dev/null || [ -d "$modules" ] # another run may have been first
fi
echo "$modules"
