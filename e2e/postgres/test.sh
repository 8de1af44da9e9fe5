#!/bin/sh
# Runs tests of the PostgreSQL proxy on servers of the versions that Debian does not
# have: a selection, or with "all" everything but what a version does not have. What is
# left out then: programs of Debian's version 15 that refuse newer servers (pg_dump,
# pg_receivewal), a pg_basebackup that the fetched servers come without, and tests whose
# statements or wordings a version does not know (MERGE, infinite numerics, negative
# scales, COPY with HEADER MATCH, EXPLAIN's new lines, nested empty arrays).
set -eu
cd "$(dirname "$0")/../.."
selection='^Test(Psql|DatabaseSQL|DDLOnTheServer|PartitionsAndChildren|Rename|Lineage|Masks|Tenants|Range|SearchForms|JoinsAndGroups|ViewsAndPartitions|InsertSelect|Explain|CopyTo|PgxCopy|PsqlDescribes|Kinds|TransactionalDDL|UnguardedTableIsRefused|SwappedCells|Names|SQLAlchemy|Cancel|Batch|Protocol)$'
programs='TestPgDump|TestDumpOf|TestRawRole|TestReplicationPasses'
backup='TestTargetSessionAttrs|TestFailover|TestCancelReachesItsHost|TestReplicationPasses'
older='TestPsqlCopy|TestExpressions|TestRandomInput|TestRangeOrder|TestConstants|TestShapes|TestTypes'
tests=$(mktemp)
trap 'rm -f "$tests"' EXIT
go test -c -o "$tests" ./dbproxy
for version in 13 14 16 17 18; do
	SIDEKEY_POSTGRES=$(e2e/postgres/fetch.sh $version)
	export SIDEKEY_POSTGRES
	run=. skip="TestDifferential|$backup|$programs"
	case $version in
	13) skip="$skip|$older|TestConversions|TestIntrospection\$|TestMigrate|WhileMoving|TestInvalidInput|TestProtocolVersions" ;;
	14) skip="$skip|$older" ;;
	17) skip="$skip|TestInvalidInput" ;;
	18) skip="$skip|TestInvalidInput|TestCopyAgainstPostgres|TestCopyBinary|TestExecuteHidden|TestExplain" ;;
	esac
	[ "${1:-}" = all ] || run=$selection
	echo "PostgreSQL $version:"
	(cd dbproxy && "$tests" -test.timeout 20m -test.run "$run" -test.skip "$skip")
done
