#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Runs the tests of abi/ and of userspace/ on the host and prints their results as
# KTAP.

. "$(dirname "$0")/common.sh"

STATUS=0
COUNT=0

# cargo_test LOG TARGET_DIR OPTION...: run cargo test, and print a line for each
# test. A test of the documentation has its file and line for a name.
cargo_test()
{
	local log=$LOGS/$1.log target=$OUT/$2 status=0 before=$COUNT
	shift 2
	CARGO_TARGET_DIR=$target cargo test --locked "$@" >"$log" 2>&1 || status=$?
	awk -v n="$COUNT" '/^test .* \.\.\. [a-zA-Z]+$/ {
		n++
		name = $0
		sub(/^test /, "", name)
		sub(/ \.\.\. [a-zA-Z]+$/, "", name)
		print ($NF == "ok" ? "ok " : "not ok ") n " " name \
			($NF == "ignored" ? " # SKIP ignored" : "")
	}
	/^corpus\// { print "# " $0 }' "$log"
	COUNT=$((COUNT + $(grep -cE '^test .* \.\.\. [a-zA-Z]+$' "$log" || true)))
	if [ "$status" -ne 0 ] || [ "$COUNT" -eq "$before" ]; then
		tail -n 40 "$log"
		STATUS=1
	fi
}

mkdir -p "$LOGS"
echo "TAP version 13"
cargo_test host-tests host --manifest-path "$TOP/host/Cargo.toml" -- --show-output
cargo_test userspace-tests userspace-target \
	--manifest-path "$TOP/userspace/Cargo.toml" --workspace --all-features
echo "1..$COUNT"
exit "$STATUS"
