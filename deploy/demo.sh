#!/usr/bin/env bash
# The job in one story: an unmodified aws CLI and psql, an HSM key, ciphertext
# on the disks, and the trace of every use of the key. Needs bin/sidekey and
# what deploy/setup.sh installs; S3=minio uses MinIO as the S3 upstream.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=/usr/bin:$PATH # the packaged clients, whatever else is installed

bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'
[ -t 1 ] || bold='' dim='' plain=''
say() { printf '\n%s==> %s%s\n' "$bold" "$*" "$plain"; }
run() { printf '%s$ %s%s\n' "$dim" "$*" "$plain"; "$@"; }
die() { printf 'demo: %s\n' "$*" >&2; exit 1; }
# must_fail COMMAND: shows the error; it is a defect of sidekey if there is none.
must_fail() {
	printf '%s$ %s%s\n' "$dim" "$*" "$plain"
	if "$@" >"$work/out" 2>&1; then cat "$work/out"; die "this should have been refused"; fi
	sed 's/^/   refused: /' "$work/out"
}

work=$(mktemp -d)
chmod 711 "$work"
sidekey_pid=
cleanup() {
	status=$?
	if [ -n "$sidekey_pid" ]; then
		kill "$sidekey_pid" 2>/dev/null || true
		wait "$sidekey_pid" 2>/dev/null || true
	fi
	if [ "$status" -ne 0 ] && [ -f "$work/dev/sidekey.log" ]; then
		echo "demo: failed; the last lines of sidekey's log:" >&2
		tail -n 20 "$work/dev/sidekey.log" >&2
	fi
	rm -rf "$work"
	exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

options=(--dir "$work/dev" --port-base 0)
upstream="an embedded S3 server"
if [ "${S3:-}" = minio ]; then
	options+=(--minio "$(e2e/minio/build.sh)")
	upstream=MinIO
fi

say "Starting SoftHSM, the key service, the sidecar, PostgreSQL and $upstream"
bin/sidekey dev "${options[@]}" >"$work/dev.out" 2>&1 &
sidekey_pid=$!
for _ in $(seq 600); do
	grep -q '^sidekey is running' "$work/dev.out" && break
	kill -0 "$sidekey_pid" 2>/dev/null || { cat "$work/dev.out" >&2; die "sidekey did not start"; }
	sleep 0.1
done
# shellcheck source=/dev/null
. "$work/dev/env.sh"
echo "The root key is an AES-256 key that the HSM made and will not give out."
aws_app=(aws --profile app --endpoint-url "$S3_ENDPOINT")
aws_around=(aws --profile upstream --endpoint-url "$UPSTREAM_S3_ENDPOINT")
aws_kms=(aws --profile admin --endpoint-url "$KMS_ENDPOINT" kms)
psql_app=(psql -X -q "$DATABASE_URL")
psql_around=(psql -X -q "$UPSTREAM_DATABASE_URL")
file=/usr/bin/openssl

say "1. A real file through the sidecar into S3 and out again, with the plain aws CLI"
run "${aws_app[@]}" s3 mb s3://documents
run "${aws_app[@]}" s3 cp --no-progress "$file" s3://documents/file
run "${aws_app[@]}" s3 cp --no-progress s3://documents/file "$work/copy"
run "${aws_app[@]}" s3 ls s3://documents/
sum_in=$(sha256sum <"$file") sum_out=$(sha256sum <"$work/copy")
echo "in:  $sum_in"
echo "out: $sum_out"
[ "$sum_in" = "$sum_out" ] || die "the checksums differ"

say "2. A table through the sidecar, with plain psql; email, ssn and balance are protected"
sql='create table customers (id int primary key, name text, email text unique, ssn text, balance numeric(12,2))'
run "${psql_app[@]}" -c "$sql"
run "${psql_app[@]}" -c "insert into customers values (1, 'Ada', 'ada@example.com', '078-05-1120', 1250.00), (2, 'Alan', 'alan@example.com', '219-09-9999', 99.95)"
run "${psql_app[@]}" -c "select * from customers where email = 'ada@example.com'"
"${psql_app[@]}" -tAc "select ssn from customers where email = 'ada@example.com'" | grep -qx '078-05-1120' || die "the row did not come back"

say "3. The same object and the same rows, read around the sidecar: ciphertext"
run "${aws_around[@]}" s3 cp --no-progress s3://documents/file "$work/raw"
run cmp "$file" "$work/raw" && die "the store holds plaintext"
head -c 64 "$work/raw" | od -A d -t x1
run "${psql_around[@]}" -c "select id, name, substring(email from 1 for 24) || '...' as email, length(ssn) as ssn_bytes from customers"
if grep -rqaE '078-05-1120|ada@example.com' "$work/dev/postgres/data" "$work"/dev/*.log; then die "PostgreSQL's files hold plaintext"; fi
echo "PostgreSQL's data directory, its WAL and its statement log hold neither value."

say "4. Who used which key for what: the trace of that SELECT and of one GET, down to the HSM"
# The application's own trace goes on: in a SQL comment, and in S3's case in a header.
trace_sql=$(openssl rand -hex 16) trace_s3=$(openssl rand -hex 16)
sleep 3 # the lease of the cached data keys ends, so that the trace goes down to the HSM
run "${psql_app[@]}" -tAc "select ssn from customers where email = 'ada@example.com' /*traceparent='00-$trace_sql-00000000000000a1-01'*/"
url=$("${aws_app[@]}" s3 presign s3://documents/file)
echo "${dim}\$ curl -H traceparent:... <presigned URL of s3://documents/file>$plain"
curl -sf -H "traceparent: 00-$trace_s3-00000000000000b2-01" -o "$work/copy" "$url"
cmp "$file" "$work/copy" || die "the presigned GET brought something else"
read -ra audit_dirs <<<"$SIDEKEY_AUDIT"
run bin/sidekey audit show "${audit_dirs[@]}" "$trace_sql"
run bin/sidekey audit show "${audit_dirs[@]}" "$trace_s3" | tee "$work/tree"
grep -q 'hsm\.' "$work/tree" || die "the trace does not reach the HSM"

say "5. The key is disabled: within the lease of 2 seconds every read is refused"
key=$("${aws_kms[@]}" describe-key --key-id "$SIDEKEY_KEY" --query KeyMetadata.KeyId --output text)
run "${aws_kms[@]}" disable-key --key-id "$key"
sleep 3
must_fail "${aws_app[@]}" s3 cp --no-progress s3://documents/file "$work/copy"
must_fail "${psql_app[@]}" -v VERBOSITY=verbose -c "select ssn from customers where email = 'ada@example.com'"

say "6. Enabled again, both work"
run "${aws_kms[@]}" enable-key --key-id "$key"
run "${aws_app[@]}" s3 cp --no-progress s3://documents/file "$work/copy"
cmp "$file" "$work/copy" || die "the object came back changed"
run "${psql_app[@]}" -c "select id, ssn, balance from customers order by id"

say "Done. 'make dev' starts the same stack and leaves it to you."
