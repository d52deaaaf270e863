# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# Sourced by the scripts of qemu/ and tools/: where things are kept, and how a
# long step reports what it does, how far it is, and where its log is.

set -euo pipefail

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${LIVEUPDATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/liveupdate-rs}
OUT=$TOP/out
LOGS=$OUT/logs
JOBS=$(nproc)
HOST=$TOP/host
DEFAULT_KERNEL=rust-7.3
# Modules of selftests/test_modules/ that register handlers.
HANDLERS="number borrow pair example memo"
LLVM_VERSION=19
LLVM_BIN=/usr/lib/llvm-$LLVM_VERSION/bin
export TOP HOST CACHE OUT LOGS JOBS LLVM_BIN

say()
{
	printf '%s\n' "$*" >&2
}

# die MESSAGE...: print one line for the person at the terminal, then stop.
die()
{
	say "error: $*"
	exit 1
}

# objects_in LOG: how many objects a build of the kernel has begun so far.
objects_in()
{
	grep -cE '^  (CC|AS|HOSTCC|RUSTC|LD)( \[M\])? ' "$1" || true
}

# show_progress LOG TOTAL: a line that moves.
show_progress()
{
	while sleep 1; do
		printf '\r    %d of %d objects' "$(objects_in "$1")" "$2" >&2
	done
}

# step WHAT COMMAND...: run a long command with its output in a log of its own.
# STEP_OBJECTS= is the number of objects that it builds, if that is known. What
# stands in brackets at the end of WHAT is not part of the log's name.
step()
{
	local what=$1 log start status progress=
	shift
	mkdir -p "$LOGS"
	log=$LOGS/$(printf '%s' "${what%% (*}" | tr -cs 'A-Za-z0-9.' '-').log
	start=$SECONDS
	say "==> $what"
	if [ -n "${STEP_OBJECTS:-}" ] && [ -t 2 ]; then
		: >"$log"
		show_progress "$log" "$STEP_OBJECTS" &
		progress=$!
	fi
	# Without this, errexit would be off in a function that a condition calls.
	set +e
	(set -e && "$@") >"$log" 2>&1 </dev/null
	status=$?
	set -e
	if [ -n "$progress" ]; then
		kill "$progress"
		wait "$progress" 2>/dev/null || true
		printf '\r\033[K' >&2
	fi
	if [ "$status" -ne 0 ]; then
		say "    ${what%% (*}: failed after $((SECONDS - start)) s; the last lines of $log:"
		tail -n 15 "$log" | sed 's/^/    | /' >&2
		die "$what: exit status $status, full log in $log"
	fi
	say "    ${what%% (*}: $((SECONDS - start)) s"
}

# together FUNCTION...: run functions side by side. Returns the status of one
# that failed, after all have ended.
together()
{
	local function pids=() pid result=0 status
	for function; do
		"$function" &
		pids+=($!)
	done
	for pid in "${pids[@]}"; do
		status=0
		wait "$pid" || status=$?
		[ "$status" -eq 0 ] || result=$status
	done
	return "$result"
}

# hash_of: a short key of the bytes on standard input.
hash_of()
{
	sha256sum | cut -c1-16
}

# as_root COMMAND...: run a command that installs packages.
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
