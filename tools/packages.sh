#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# packages.sh [lint] [PACKAGE...]
#
# Installs the Debian packages that building and running need, those of the
# checkers with "lint", and those that are named, if any is missing. Prints
# nothing if all are installed.

. "$(dirname "$0")/common.sh"

BUILD="clang-19 lld-19 llvm-19 libclang-19-dev make gcc libc6-dev flex bison bc
libelf-dev libssl-dev cpio kmod xz-utils patch rsync git perl ca-certificates
debian-archive-keyring"
RUN="python3 busybox-static kexec-tools qemu-system-x86"
LINT="shellcheck clang-format-19 codespell pylint"

installed()
{
	dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed
}

# rust_packages: Debian's, unless a rustc that is new enough is there already.
rust_packages()
{
	local version=
	if command -v rustc >/dev/null && command -v cargo >/dev/null; then
		version=$(rustc --version | sed 's/^rustc \([0-9]*\.[0-9]*\).*/\1/')
		if printf '1.85\n%s\n' "$version" | sort -V -C; then
			return
		fi
	fi
	case "$CODENAME" in
	bookworm)
		echo rustc-web rust-web-src cargo-web rustfmt-web rust-web-clippy
		;;
	*)
		echo rustc rust-src cargo rustfmt rust-clippy bindgen
		;;
	esac
}

WANTED="$BUILD $RUN"
if [ "${1:-}" = lint ]; then
	WANTED="$WANTED $LINT"
	shift
fi

[ -r /etc/os-release ] || die "no /etc/os-release: cannot tell the distribution"
CODENAME=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")

missing=
for p in $WANTED $(rust_packages) "$@"; do
	installed "$p" || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

case "$CODENAME" in
bookworm | trixie) ;;
*)
	die "this is neither Debian 12 nor 13: install these packages by hand," \
	    "under their names in your distribution:$missing"
	;;
esac

say "Packages to install:$missing"
step "update package lists" as_root apt-get update
# shellcheck disable=SC2086 # a list of words
step "install packages" as_root env DEBIAN_FRONTEND=noninteractive \
	apt-get install -y --no-install-recommends $missing
