#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# archive.sh PACKAGE[=VERSION-PATTERN] DIR
#
# Unpacks a Debian package into DIR without installing it. The package may be
# in a suite that this machine is not set up for: apt gets a state of its own,
# and the address of the archive is the one that this machine already uses.
# Signatures are verified as ever.

. "$(dirname "$0")/common.sh"

package=$1
dest=$2
suites="trixie-backports forky"
apt_dir=$CACHE/apt

own_apt()
{
	local tool=$1
	shift
	"$tool" -o Dir::State="$apt_dir/state" \
		-o Dir::State::lists="$apt_dir/lists" \
		-o Dir::State::status="$apt_dir/state/status" \
		-o Dir::Cache="$apt_dir/cache" \
		-o Dir::Etc::sourcelist="$apt_dir/sources.list" \
		-o Dir::Etc::sourceparts=- \
		-o APT::Sandbox::User= "$@"
}

prepare()
{
	local uri
	# shellcheck disable=SC2016 # apt expands them
	uri=$(apt-get indextargets --format '$(REPO_URI) $(COMPONENT) $(SUITE)' |
		awk '$2 == "main" && $3 !~ /security|updates/ { print $1; exit }')
	if [ -z "$uri" ]; then
		say "apt knows no Debian archive on this machine (is there a sources.list?)"
		return 1
	fi
	mkdir -p "$apt_dir"/{state,lists/partial,cache/archives/partial}
	: >"$apt_dir/state/status"
	for suite in $suites; do
		echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
			"$uri $suite main"
	done >"$apt_dir/sources.list"
	own_apt apt-get update
}

fetch()
{
	local work=$dest.fetch
	prepare || return 1
	rm -rf "$work" "$dest.new"
	mkdir -p "$work" "$dest.new"
	if ! (cd "$work" && own_apt apt-get download "$package"); then
		say "No archive that this machine reaches has $package (looked in: $suites)."
		return 1
	fi
	dpkg-deb -x "$work"/*.deb "$dest.new" || return 1
	rm -rf "$work" "$dest"
	mv "$dest.new" "$dest"
}

[ -d "$dest" ] && exit 0
mkdir -p "$(dirname "$dest")"
step "download ${package%%=*}" fetch
