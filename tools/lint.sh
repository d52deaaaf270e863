#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# lint.sh        run the formatters and checkers; each prints a KTAP line, and
#                below a failure what the checker reports
# lint.sh fmt    format Rust and C sources
#
# shellcheck disable=SC2317 # check calls every lint_ function

. "$(dirname "$0")/common.sh"
. "$TOP/tools/toolchain.sh"

cd "$TOP" || exit 1
toolchain_find

NUMBER=0
FAILED=0
# The kernel's source has the style files and checkpatch.
SOURCE=$("$TOP/qemu/build.sh" source)
[ -d "$SOURCE" ] || "$TOP/qemu/kernel.sh" fetch "$DEFAULT_KERNEL"
RUSTFMT=${RUSTFMT:-rustfmt}
CLANG_FORMAT=$LLVM_BIN/clang-format
CHECKPATCH=("$SOURCE/scripts/checkpatch.pl" --strict --no-tree --terse
	--show-types --no-summary --max-line-length=100)
# These hold for the kernel, not for programs that run on it. __printf() is the
# kernel's own, and checkpatch takes FIXTURE_DATA(x) *y of the harness for a
# multiplication.
USERSPACE=PREFER_KERNEL_TYPES,STRCPY,STRNCPY,STRLCPY,VOLATILE,NEW_TYPEDEFS
USERSPACE=$USERSPACE,PREFER_DEFINED_ATTRIBUTE_MACRO,SPACING

# The status of a check that cannot run here.
SKIPPED=77

# check NAME COMMAND...: ok if the command succeeds.
check()
{
	local name=$1 output status=0
	shift
	NUMBER=$((NUMBER + 1))
	output=$("$@" 2>&1) || status=$?
	if [ "$status" -eq 0 ]; then
		echo "ok $NUMBER $name"
	elif [ "$status" -eq "$SKIPPED" ]; then
		echo "ok $NUMBER $name # SKIP ${output:-not possible on this machine}"
	else
		echo "not ok $NUMBER $name"
		printf '%s\n' "$output" | sed 's/^/# /'
		FAILED=1
	fi
}

# files PATTERN...: the files of the tree, committed or not.
files()
{
	git ls-files --cached --others --exclude-standard -- "$@" |
		while read -r file; do
			[ ! -f "$file" ] || echo "$file"
		done
}

# rustfmt_all [--check]: each file by itself, because kbuild, not the crate root,
# finds some of the modules.
rustfmt_all()
{
	local rs
	mapfile -t rs < <(files '*.rs')
	"$RUSTFMT" "$@" --color never --edition 2021 \
		--config-path "$SOURCE/.rustfmt.toml" "${rs[@]}"
}

# clang_format_all OPTION...: the module's C, with the kernel's own style file.
# The tables of the selftests and of forge.ko have columns that clang-format would
# break, and checkpatch rejects what it makes of them.
clang_format_all()
{
	local c
	mapfile -t c < <(files 'kapi/*.[ch]' 'include/*.[ch]' 'file_handlers/*.[ch]')
	"$CLANG_FORMAT" --style="file:$SOURCE/.clang-format" "$@" "${c[@]}"
}

lint_rustfmt()
{
	rustfmt_all --check
}

lint_clang_format()
{
	clang_format_all --dry-run --Werror
}

# clippy_module [LIVEUPDATE_TEST=1]: warnings of a kernel module's build do not
# fail make, so look for them.
clippy_module()
{
	local output
	if ! output=$(env "$@" "$TOP/qemu/build.sh" module-clippy 2>&1); then
		printf '%s\n' "$output" | tail -n 60
		return 1
	fi
	! grep -E -A 12 '^(warning|error)|: (warning|error):' <<<"$output"
}

lint_clippy()
{
	clippy_module
}

lint_clippy_test()
{
	clippy_module LIVEUPDATE_TEST=1
}

host_cargo()
{
	CARGO_TARGET_DIR=$OUT/host cargo "$@" --locked --manifest-path "$HOST/Cargo.toml"
}

lint_clippy_host()
{
	RUSTFLAGS="-D warnings" host_cargo clippy --quiet --all-targets
}

lint_doc_host()
{
	RUSTDOCFLAGS="-D warnings" host_cargo doc --quiet --no-deps \
		--document-private-items
}

userspace_cargo()
{
	local command=$1
	shift
	CARGO_TARGET_DIR=$OUT/userspace-target cargo "$command" --locked \
		--manifest-path "$TOP/userspace/Cargo.toml" "$@"
}

# Each feature of the crate by itself too: a program takes what it needs.
lint_clippy_userspace()
{
	local features
	userspace_cargo clippy --quiet --workspace --all-targets --all-features \
		-- -D warnings || return 1
	for features in "" agent memory state; do
		userspace_cargo clippy --quiet -p liveupdate --features "$features" \
			-- -D warnings || return 1
	done
}

lint_doc_userspace()
{
	RUSTDOCFLAGS="-D warnings" userspace_cargo doc --quiet --no-deps \
		--all-features || return 1
	# The documentation of a program is for readers of its code.
	RUSTDOCFLAGS="-D warnings" userspace_cargo doc --quiet --no-deps -p vmm \
		--document-private-items
}

# lint_unsafe_userspace: the compiler denies unsafe code where no file allows it.
lint_unsafe_userspace()
{
	[ "$(git grep --untracked -l 'allow(.*unsafe_code' userspace)" = \
		"$(printf '%s\n' userspace/{liveupdate,vmm}/src/sys.rs)" ]
}

# lint_bindings_userspace: what is committed is what bindgen makes of the header.
lint_bindings_userspace()
{
	BINDGEN=$BINDGEN userspace/liveupdate/bindings.sh "$SOURCE" |
		diff -u userspace/liveupdate/src/uapi.rs -
}

# lint_publish_userspace: what crates.io would refuse, such as a missing
# description, is a warning of the dry run.
lint_publish_userspace()
{
	local output status=0
	output=$(userspace_cargo publish --dry-run --allow-dirty -p liveupdate \
		--all-features 2>&1) || status=1
	if [ "$status" -ne 0 ] || grep '^warning' <<<"$output" |
		grep -v 'aborting upload due to dry run'; then
		printf '%s\n' "$output"
		return 1
	fi
}

# lint_msrv_userspace: with the oldest compiler that the crate promises to build
# with. Debian 13 has it; elsewhere rustup may have it beside a later one. clippy
# checks calls of the standard library against the same promise.
lint_msrv_userspace()
{
	local oldest toolchain
	oldest=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' userspace/Cargo.toml)
	case "$("$RUSTC" --version)" in
	"rustc $oldest."*)
		userspace_cargo check --quiet --workspace --all-features
		;;
	*)
		toolchain=$(rustup toolchain list 2>/dev/null |
			grep -m 1 -oE "^$oldest(\.[0-9]+)?-[^ ]+") || return "$SKIPPED"
		RUSTC=$(rustup which --toolchain "$toolchain" rustc) \
			userspace_cargo check --quiet --workspace --all-features \
			--target-dir "$OUT/userspace-msrv"
		;;
	esac
}

# lint_licenses_userspace: those of userspace/deny.toml, and no other registry.
lint_licenses_userspace()
{
	userspace_cargo metadata --format-version 1 | tools/licenses.py userspace/deny.toml
}

# lint_deny_userspace: all of userspace/deny.toml, with the advisories of RustSec, if
# cargo-deny is installed. It takes longer to build than all the rest.
lint_deny_userspace()
{
	command -v cargo-deny >/dev/null || {
		echo "cargo-deny is not installed: cargo install --locked cargo-deny"
		return "$SKIPPED"
	}
	cargo deny --locked --manifest-path userspace/Cargo.toml check
}

# lint_units: the program need not be installed here. Settings of later versions of
# systemd are ignored there, and so by this check.
lint_units()
{
	local units output
	command -v systemd-analyze >/dev/null || {
		echo "systemd-analyze is not installed"
		return "$SKIPPED"
	}
	units=$(mktemp -d)
	cp userspace/lud/systemd/lud.{service,socket} "$units"
	sed -i 's,^ExecStart=.*,ExecStart=/bin/true,' "$units/lud.service"
	output=$(systemd-analyze verify --man=no "$units"/lud.{service,socket} 2>&1) ||
		output="$output
systemd-analyze failed"
	rm -rf "$units"
	! grep -vE "^$|Unknown key.*(SurviveFinalKillSignal|FileDescriptorStorePreserve|AcceptFileDescriptors)" \
		<<<"$output"
}

lint_patches()
{
	# From outside of this repository: checkpatch takes a file that git knows for
	# a source, not for a patch. MAINTAINERS of the kernel has the folders of new files.
	(cd / && "${CHECKPATCH[@]}" --ignore FILE_PATH_CHANGES "$TOP"/patches/*.patch "$TOP"/patches/*/*.patch)
}

# checkpatch_on IGNORED PATTERN...: nothing to do if no file matches.
checkpatch_on()
{
	local ignored=$1 c
	shift
	mapfile -t c < <(files "$@")
	[ "${#c[@]}" -eq 0 ] ||
		"${CHECKPATCH[@]}" ${ignored:+--ignore "$ignored"} -f "${c[@]}"
}

lint_c()
{
	local status=0
	# The functions that exports.c exports are in Rust.
	checkpatch_on EXPORT_SYMBOL 'kapi/*.[ch]' 'include/*.[ch]' 'file_handlers/*.[ch]' ||
		status=1
	# Tables that several programs read have columns for all of them.
	checkpatch_on MACRO_ARG_UNUSED 'selftests/test_modules/*.[ch]' || status=1
	checkpatch_on "$USERSPACE" ':(glob)selftests/*.[ch]' 'selftests/lib/*.[ch]' \
		'bench/*.[ch]' || status=1
	return "$status"
}

lint_shell()
{
	local sh
	mapfile -t sh < <(files '*.sh' qemu/guest/init .ci/run)
	# Sourced files are found at run time or in the guest, and use each other's
	# variables.
	shellcheck -e SC1090,SC1091 -e SC2034 "${sh[@]}"
}

lint_python()
{
	local status=0
	PYTHONDONTWRITEBYTECODE=1 pylint --rcfile="$TOP/tools/pylintrc" bench \
		tools/licenses.py || status=1
	(cd qemu && PYTHONDONTWRITEBYTECODE=1 pylint --rcfile="$TOP/tools/pylintrc" \
		runner run.py demo.py demo_vm.py demo_device.py) || status=1
	return "$status"
}

lint_python_tests()
{
	PYTHONDONTWRITEBYTECODE=1 python3 -m unittest --quiet \
		bench.test_results qemu.runner.test_forger qemu.runner.test_runner \
		qemu.runner.test_witness
}

lint_spelling()
{
	local all
	mapfile -t all < <(files . | grep -v -e '/corpus/' -e '\.svg$' -e '\.lock$' \
		-e '^patches/' -e '^COPYING$')
	codespell --builtin clear --ignore-words "$TOP/tools/spelling" "${all[@]}"
}

lint_spdx()
{
	local file license bad=0
	while read -r file; do
		case "$file" in
		userspace/*) license='Apache-2.0 OR MIT' ;;
		*) license=GPL-2.0 ;;
		esac
		head -n 2 "$file" | grep -q "SPDX-License-Identifier: $license" || {
			echo "$file: no SPDX line with $license"
			bad=1
		}
	done < <(files '*.rs' '*.c' '*.h' '*.sh' '*.py' Makefile '*/Makefile' \
		Kbuild '*.mk' '*.config' '*.toml' '*.yml' '*/Kbuild' qemu/kernels \
		qemu/guest/init .ci/run tools/pylintrc .editorconfig)
	return "$bad"
}

# lint_paths: no path of the machine that a file was written on, and no host name
# of a package archive.
lint_paths()
{
	local all
	mapfile -t all < <(files . | grep -v -e '^docs/' -e '^tools/lint.sh$')
	! grep -nE '/(root|home/[a-z]+|work)/|https?://[a-z.]*debian\.org|deb\.debian' \
		"${all[@]}" /dev/null
}

if [ "${1:-}" = fmt ]; then
	rustfmt_all
	clang_format_all -i
	exit 0
fi

check rustfmt lint_rustfmt
check clang-format lint_clang_format
check clippy lint_clippy
check clippy-test lint_clippy_test
check clippy-host lint_clippy_host
check doc-host lint_doc_host
check clippy-userspace lint_clippy_userspace
check doc-userspace lint_doc_userspace
check unsafe-userspace lint_unsafe_userspace
check bindings-userspace lint_bindings_userspace
check publish-userspace lint_publish_userspace
check msrv-userspace lint_msrv_userspace
check licenses-userspace lint_licenses_userspace
check deny-userspace lint_deny_userspace
check units lint_units
check checkpatch-patches lint_patches
check checkpatch-c lint_c
check shellcheck lint_shell
check pylint lint_python
check python-tests lint_python_tests
check codespell lint_spelling
check spdx lint_spdx
check paths lint_paths
echo "1..$NUMBER"
exit "$FAILED"
