#!/bin/sh
# Builds the Versity S3 Gateway (Apache-2.0), the second S3 server of the tests,
# once per version, and prints the path of the binary. It is built from a module
# of its own, so that nothing of it enters sidekey's go.mod.
set -eu
cd "$(dirname "$0")"
version=$(sed -n 's|.*github.com/versity/versitygw \(v[^ ]*\).*|\1|p' go.mod | head -n 1)
[ -n "$version" ] || { echo "e2e/versitygw/go.mod names no version of versitygw" >&2; exit 1; }
cache=${SIDEKEY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sidekey}
binary=$cache/versitygw-$version
if [ ! -x "$binary" ]; then
	mkdir -p "$cache"
	echo "building versitygw $version, once (1 to 4 minutes)" >&2
	CGO_ENABLED=0 go build -p 2 -trimpath -buildvcs=false -ldflags '-s -w' -o "$binary.new.$$" github.com/versity/versitygw/cmd/versitygw >&2
	mv "$binary.new.$$" "$binary"
fi
echo "$binary"
