#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# make lint: the formatters and checkers, each a KTAP line that run.py counts.
# What a checker complains about stands below its line as a comment.
#
# shellcheck disable=SC2317 # every lint_ function is called through check

. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/toolchain.sh"

cd "$TOP" || exit 1
toolchain_find

NUMBER=0
FAILED=0
SOURCE=$("$TOP/qemu/build.sh" source)
CHECKPATCH=("$SOURCE/scripts/checkpatch.pl" --strict --no-tree --terse
	--show-types --no-summary --max-line-length=100)
# What holds for the kernel and not for programs that run on it.
USERSPACE=PREFER_KERNEL_TYPES,STRCPY,STRNCPY,STRLCPY,VOLATILE,NEW_TYPEDEFS
# __printf() is the kernel's own; and checkpatch takes the FIXTURE_DATA(x) *y of
# the harness for a multiplication.
USERSPACE=$USERSPACE,PREFER_DEFINED_ATTRIBUTE_MACRO,SPACING

# check NAME COMMAND...: silent and successful is ok.
check()
{
	local name=$1 output status=0
	shift
	NUMBER=$((NUMBER + 1))
	output=$("$@" 2>&1) || status=$?
	if [ "$status" -eq 0 ]; then
		echo "ok $NUMBER $name"
	else
		echo "not ok $NUMBER $name"
		printf '%s\n' "$output" | sed 's/^/# /'
		FAILED=1
	fi
}

files()
{
	git ls-files --cached --others --exclude-standard -- "$@" |
		while read -r file; do
			[ ! -f "$file" ] || echo "$file"
		done
}

lint_rustfmt()
{
	local rs
	mapfile -t rs < <(files '*.rs')
	[ "${#rs[@]}" -gt 0 ] || return 0
	# Each file by itself: the crate root names modules that kbuild finds.
	"${RUSTFMT:-rustfmt}" --check --color never --edition 2021 \
		--config-path "$SOURCE/.rustfmt.toml" "${rs[@]}"
}

lint_clippy()
{
	local output
	if ! output=$("$TOP/qemu/build.sh" module-clippy 2>&1); then
		printf '%s\n' "$output" | tail -n 60
		return 1
	fi
	! grep -E -A 12 '^(warning|error)|: (warning|error):' <<<"$output"
}

lint_patches()
{
	# From outside of this repository: checkpatch takes a file that git knows for
	# a source, not for a patch.
	(cd / && "${CHECKPATCH[@]}" "$TOP"/patches/*.patch)
}

lint_c()
{
	local kernel forge programs status=0
	mapfile -t kernel < <(files 'kapi/*.[ch]')
	mapfile -t forge < <(files 'selftests/test_modules/*.[ch]')
	mapfile -t programs < <(files ':(glob)selftests/*.[ch]' 'selftests/lib/*.[ch]' 'bench/*.[ch]')
	if [ "${#kernel[@]}" -gt 0 ]; then
		"${CHECKPATCH[@]}" -f "${kernel[@]}" || status=1
	fi
	# A table that two programs read has columns for both.
	if [ "${#forge[@]}" -gt 0 ]; then
		"${CHECKPATCH[@]}" --ignore MACRO_ARG_UNUSED -f "${forge[@]}" || status=1
	fi
	if [ "${#programs[@]}" -gt 0 ]; then
		"${CHECKPATCH[@]}" --ignore "$USERSPACE" -f "${programs[@]}" || status=1
	fi
	return "$status"
}

lint_shell()
{
	local sh
	mapfile -t sh < <(files '*.sh' qemu/guest/init .ci/run)
	# What common.sh sets is used by others, and the paths of what is sourced
	# are known only at run time or in the guest.
	shellcheck -e SC1090,SC1091 -e SC2034 "${sh[@]}"
}

lint_spdx()
{
	local file bad=0
	while read -r file; do
		head -n 2 "$file" | grep -q 'SPDX-License-Identifier: GPL-2.0' || {
			echo "$file: no SPDX line"
			bad=1
		}
	done < <(files '*.rs' '*.c' '*.h' '*.sh' '*.py' Makefile '*/Makefile' \
		Kbuild '*.config' '*.toml' '*/Kbuild' qemu/kernels qemu/guest/init .ci/run)
	return "$bad"
}

lint_python()
{
	local py
	mapfile -t py < <(files '*.py')
	python3 - "${py[@]}" <<-'PY'
	import ast, sys
	for name in sys.argv[1:]:
	    with open(name, encoding="utf-8") as f:
	        ast.parse(f.read(), name)
	PY
}

lint_bench()
{
	# What is read from the guests' lines, without a guest.
	PYTHONDONTWRITEBYTECODE=1 python3 -m unittest discover -s bench
}

lint_paths()
{
	# No path of the machine it was written on, no name of an archive's host.
	local all
	mapfile -t all < <(files . | grep -v -e '^docs/' -e '^qemu/lint.sh$')
	! grep -nE '/root/|/home/[a-z]|/work/|https?://[a-z.]*debian\.org|deb\.debian' \
		"${all[@]}" /dev/null
}

check rustfmt lint_rustfmt
check clippy lint_clippy
check checkpatch-patches lint_patches
check checkpatch-c lint_c
check shellcheck lint_shell
check python-syntax lint_python
check bench-parsing lint_bench
check spdx lint_spdx
check paths lint_paths
echo "1..$NUMBER"
exit "$FAILED"
