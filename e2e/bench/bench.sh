#!/bin/sh
# Measures sidekey against the servers without it and against plain relays, in
# one run with the variants interleaved, and writes RESULTS.md beside this file.
# ROUNDS and SECONDS_EACH (whole seconds) set how long, BENCH_SECTIONS (s3, postgres,
# kms, envelope, with commas) and BENCH_ROWS (a pattern) what; deploy/setup.sh must have
# run.
set -eu
cd "$(dirname "$0")/../.."
SIDEKEY_MINIO=$(e2e/minio/build.sh)
export SIDEKEY_MINIO
BENCH_RESULTS=$PWD/e2e/bench/RESULTS.md
export BENCH_RESULTS
exec go test -count 1 -tags bench -timeout 2h -v -run '^TestMeasure$' ./e2e
