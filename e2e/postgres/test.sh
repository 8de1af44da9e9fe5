#!/bin/sh
# Runs tests of the PostgreSQL proxy on servers of the versions that Debian does not
# have: a selection, or with "all" everything but the comparison of thousands of
# statements, and what a version does not have: 13 and 14 databases with a locale of
# ICU, 13 the catalog that moving a column needs.
set -eu
cd "$(dirname "$0")/../.."
selection='^Test(Psql|DatabaseSQL|DDLOnTheServer|PartitionsAndChildren|Rename|Lineage|Masks|Tenants|Range|SearchForms|JoinsAndGroups|ViewsAndPartitions|InsertSelect|Explain|CopyTo|PgxCopy|PsqlDescribes|Kinds|TransactionalDDL|UnguardedTableIsRefused|SwappedCells|Names|SQLAlchemy|Cancel|Batch|Protocol|Types|InvalidInput|NewerStatements|NewerGrammar|NewerNumbers|SystemUser|PgDump|Failover)$'
tests=$(mktemp)
trap 'rm -f "$tests"' EXIT
go test -c -o "$tests" ./dbproxy
for version in 13 14 16 17 18; do
	SIDEKEY_POSTGRES=$(e2e/postgres/fetch.sh $version)
	export SIDEKEY_POSTGRES
	run=. skip=TestDifferential
	case $version in
	13) skip="$skip|TestCaseOfTurkish|TestMigrate|WhileMoving" ;;
	14) skip="$skip|TestCaseOfTurkish" ;;
	esac
	[ "${1:-}" = all ] || run=$selection
	echo "PostgreSQL $version:"
	(cd dbproxy && "$tests" -test.timeout 20m -test.run "$run" -test.skip "$skip")
done
