#!/bin/sh
# Builds the MinIO server that the tests use, once per version, and prints the
# path of the binary. MinIO is AGPL-3.0 software: it is built from a module of
# its own, so that nothing of it enters sidekey's go.mod, and it is only ever
# run as a separate process.
set -eu
cd "$(dirname "$0")"
version=$(sed -n 's|.*github.com/minio/minio \(v[^ ]*\).*|\1|p' go.mod | head -n 1)
[ -n "$version" ] || { echo "e2e/minio/go.mod names no version of MinIO" >&2; exit 1; }
cache=${SIDEKEY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sidekey}
binary=$cache/minio-$version
if [ ! -x "$binary" ]; then
	mkdir -p "$cache"
	echo "building MinIO $version, once (4 to 10 minutes)" >&2
	CGO_ENABLED=0 go build -p 2 -trimpath -buildvcs=false -ldflags '-s -w' -o "$binary.new.$$" github.com/minio/minio >&2
	mv "$binary.new.$$" "$binary"
fi
echo "$binary"
