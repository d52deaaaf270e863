#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Runs the tests of abi/ on the host and prints their results as KTAP.

. "$(dirname "$0")/common.sh"

mkdir -p "$LOGS"
log=$LOGS/host-tests.log
status=0
CARGO_TARGET_DIR=$OUT/host cargo test --locked \
	--manifest-path "$TOP/host/Cargo.toml" -- --show-output \
	>"$log" 2>&1 || status=$?
echo "TAP version 13"
awk '/^test .* \.\.\. / {
	n++
	print ($NF == "ok" ? "ok " : "not ok ") n " " $2 \
		($NF == "ignored" ? " # SKIP ignored" : "")
}
/^corpus\// { print "# " $0 }
END { print "1.." n + 0 }' "$log"
if [ "$status" -ne 0 ]; then
	tail -n 40 "$log"
fi
exit "$status"
