#!/usr/bin/env bash
# Answers check-backs for place_order.sh: fetches the questions, and lets the barrier decide. Runs until it is stopped;
# `./answer_checks.sh once` fetches once.
set -euo pipefail

url=${AFTERCOMMIT_URL:-http://127.0.0.1:8340}
database=${DATABASE:-orders.db}

call() {
    curl --silent --show-error --fail --max-time 30 \
        -H 'content-type: application/json' -H 'aftercommit-app: orders' "$@"
}

# What became of the transaction of message $1. One that has no marker by now gets one, and can never commit any more.
outcome_of() {
    sqlite3 -cmd '.timeout 100' "$database" \
        "INSERT OR IGNORE INTO aftercommit_outcome VALUES ('$1', 'rolled_back', CURRENT_TIMESTAMP);" 2>/dev/null &&
        sqlite3 "$database" "SELECT outcome FROM aftercommit_outcome WHERE message_id = '$1';" ||
        echo unknown # Most likely the transaction itself holds the lock; the service asks again.
}

while :; do
    checks=$(call "$url/v1/apps/orders/checks/pull" -d '{"max": 10, "wait_seconds": 20}')
    for id in $(grep -o '"id": *"[^"]*"' <<<"$checks" | cut -d'"' -f4); do
        call --output /dev/null "$url/v1/apps/orders/checks" \
            -d "{\"results\": [{\"id\": \"$id\", \"outcome\": \"$(outcome_of "$id")\"}]}"
    done
    if [ "${1:-}" = once ]; then break; fi
done
