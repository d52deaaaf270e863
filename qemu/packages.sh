#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Installs the Debian packages that building and running need, if any is
# missing, and says which; with arguments, those packages too. Prints nothing
# when all are there.

. "$(dirname "$0")/common.sh"

PACKAGES="clang-19 lld-19 llvm-19 libclang-19-dev ccache make gcc libc6-dev flex bison
bc libelf-dev libssl-dev cpio kmod xz-utils busybox-static kexec-tools patch
rsync python3 git perl ca-certificates shellcheck clang-format-19
qemu-system-x86 debian-archive-keyring"

installed()
{
	dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed
}

# The rustc that is there is used if it is new enough; else Debian's.
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

[ -r /etc/os-release ] || die "cannot tell the distribution: no /etc/os-release"
CODENAME=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")

missing=
for p in $PACKAGES $(rust_packages) "$@"; do
	installed "$p" || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

case "$CODENAME" in
bookworm | trixie) ;;
*)
	die "this is not Debian 12 or 13, so install what is missing by hand," \
	    "under its name in your distribution:$missing"
	;;
esac

say "Packages to install:$missing"
step "update package lists" as_root apt-get update
# shellcheck disable=SC2086 # a list of words
step "install packages" as_root env DEBIAN_FRONTEND=noninteractive \
	apt-get install -y --no-install-recommends $missing
