#!/bin/sh
# Everything that must hold: formatting, vet, unit tests, vectors and fuzz
# corpora with the race detector, then whole-binary tests on real servers.
# deploy/setup.sh must have run.
set -eu
cd "$(dirname "$0")/.."
unformatted=$(gofmt -l $(git ls-files '*.go'))
[ -z "$unformatted" ] || { echo "not formatted: $unformatted" >&2; exit 1; }
SIDEKEY_MINIO=$(e2e/minio/build.sh)
export SIDEKEY_MINIO
e2e/versitygw/build.sh >/dev/null
go vet ./...
go vet -tags sidecar .
go test -race -timeout 20m -p 2 $(go list ./... | grep -v '/e2e$')
# Thousands of statements, compared with PostgreSQL itself, and values of 100 MB: too
# much for the race detector.
go test -timeout 20m ./dbproxy -run '^(TestDifferential$|TestLarge)'
e2e/postgres/test.sh # on the versions of PostgreSQL that Debian does not have
go test -timeout 40m -v ./e2e
