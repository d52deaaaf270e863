# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# Shared by the scripts of this folder: where things are kept, and how a long
# step tells what it does, how long it took, and where its log is.

set -euo pipefail

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${LIVEUPDATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/liveupdate-rs}
OUT=$TOP/out
LOGS=$OUT/logs
JOBS=$(nproc)
DEFAULT_KERNEL=rust-7.3
LLVM_VERSION=19
LLVM_BIN=/usr/lib/llvm-$LLVM_VERSION/bin
export TOP CACHE OUT LOGS JOBS LLVM_BIN

say()
{
	printf '%s\n' "$*" >&2
}

# die MESSAGE...: one clear line for the person at the terminal, then stop.
die()
{
	say "error: $*"
	exit 1
}

# step WHAT COMMAND...: run a long command with its output in a log of its own.
step()
{
	local what=$1 log start status
	shift
	mkdir -p "$LOGS"
	log=$LOGS/$(printf '%s' "$what" | tr -cs 'A-Za-z0-9.' '-').log
	start=$SECONDS
	say "==> $what"
	# Within a condition, a function would go on after a command that failed.
	set +e
	(set -e && "$@") >"$log" 2>&1 </dev/null
	status=$?
	set -e
	if [ "$status" -ne 0 ]; then
		say "    failed after $((SECONDS - start)) s; the last lines of $log:"
		tail -n 15 "$log" | sed 's/^/    | /' >&2
		die "$what: exit status $status, full log in $log"
	fi
	say "    done in $((SECONDS - start)) s"
}

# hash_of: a short key of what is on standard input.
hash_of()
{
	sha256sum | cut -c1-16
}

# as_root COMMAND...: for package installation only.
as_root()
{
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die "need root or sudo to run: $*"
	fi
}
