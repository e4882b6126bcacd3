#!/usr/bin/env bash
# An initiator in plain curl and bash: writes an order into a SQLite file and publishes it, both or neither.
#
#   sqlite3 orders.db < tables.sql
#   ./place_order.sh 42
set -euo pipefail

number=$1
url=${AFTERCOMMIT_URL:-http://127.0.0.1:8340}
database=${DATABASE:-orders.db}

call() {
    curl --silent --show-error --fail --max-time 10 \
        -H 'content-type: application/json' -H 'aftercommit-app: orders' "$@"
}

# 1. Prepare. If the answer is lost, the service asks later, and `answer_checks.sh` rules the message out.
id=$(call "$url/v1/messages" -d "{\"topic\": \"orders.created\", \"payload\": {\"order\": $number}}" |
    grep -o '[0-9a-f]\{8\}-[0-9a-f-]\{27\}')

# 2. The local transaction. The marker is a plain INSERT: where a check came first it fails, and nothing commits.
if ! sqlite3 -bail -cmd '.timeout 2000' "$database" "
    BEGIN IMMEDIATE;
    INSERT INTO aftercommit_outcome VALUES ('$id', 'committed', CURRENT_TIMESTAMP);
    INSERT INTO orders VALUES ($number);
    COMMIT;"; then
    # It did not commit. Barrier first, so that it never can; only then cancel. Whatever fails here, a check repeats.
    sqlite3 -cmd '.timeout 2000' "$database" \
        "INSERT INTO aftercommit_outcome VALUES ('$id', 'rolled_back', CURRENT_TIMESTAMP);"
    call --output /dev/null "$url/v1/messages/$id/cancel" -d '{"reason": "the order was refused"}'
    exit 1
fi

# The moment at which a test kills this program.
if [ -n "${CRASH_AFTER_COMMIT:-}" ]; then kill -9 $$; fi

# 3. Confirm. If this fails, the service asks.
call --output /dev/null -X POST "$url/v1/messages/$id/confirm" || echo "not confirmed: left to check-back" >&2
echo "$id"
