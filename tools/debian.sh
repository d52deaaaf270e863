#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# debian.sh
#
# Makes out/debian.tar, a small Debian with systemd, in which the units of lud are
# tested. Does nothing if it is there.

. "$(dirname "$0")/common.sh"

# The first release with a systemd that knows SurviveFinalKillSignal=.
RELEASE=trixie
PACKAGES=systemd,systemd-sysv,kexec-tools,kmod,procps,util-linux

make_debian()
{
	mmdebstrap --variant=minbase --include="$PACKAGES" \
		--dpkgopt='path-exclude=/usr/share/doc/*' \
		--dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		"$RELEASE" "$OUT/debian.new.tar"
	mv "$OUT/debian.new.tar" "$OUT/debian.tar"
}

[ ! -f "$OUT/debian.tar" ] || exit 0
"$TOP/tools/packages.sh" mmdebstrap
mkdir -p "$OUT"
step "make a Debian $RELEASE with systemd" make_debian
