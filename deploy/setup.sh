#!/bin/sh
# Installs, from Debian's packages, what the demo and the tests run against:
# SoftHSM2, PostgreSQL, PgBouncer, pgpool-II and unmodified clients. Does nothing where
# all of it is there. Needs root only to install.
set -eu
packages='softhsm2 postgresql postgresql-contrib pgbouncer pgpool2 awscli s3cmd rclone restic curl openssl python3 python3-boto3 python3-cryptography python3-psycopg python3-psycopg2 python3-asyncpg python3-sqlalchemy python3-django ruby-activerecord ruby-pg openjdk-17-jdk-headless libpostgresql-jdbc-java'
command -v npm >/dev/null 2>&1 || packages="$packages nodejs npm" # a Node.js from elsewhere brings its own npm
missing=
for package in $packages; do
	dpkg-query -W -f='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" -ne 0 ]; then
	echo "sidekey: not installed:$missing; run as root, or install them with apt-get" >&2
	exit 1
fi
echo "installing:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
# The packages' own services are not wanted: everything runs on ports and in
# directories of its own.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
	trap 'rm -f "$policy"' EXIT
fi
apt-get update -q >&2
# shellcheck disable=SC2086 # a list of names
apt-get install -q -y --no-install-recommends $missing >&2
