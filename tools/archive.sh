#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# archive.sh DIR PACKAGE[=VERSION-PATTERN]...
#
# Unpacks Debian packages into DIR without installing them. A package may be in
# a suite that this machine is not set up for: apt gets its own state, and the
# address of the archive is the one that this machine already uses. apt verifies
# the signatures of the suites.

. "$(dirname "$0")/common.sh"

[ $# -ge 2 ] || die "usage: archive.sh DIR PACKAGE..."
dest=$1
shift
suites="trixie-backports forky"
apt_dir=$CACHE/apt
# Lists are fetched again when they are older than this, in minutes.
LISTS_AGE=30

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

# update_lists: several of these may run at a time; one of them fetches.
update_lists()
{
	local uri suite
	mkdir -p "$apt_dir"/{state,lists/partial,cache/archives/partial}
	exec 7>"$apt_dir/lock"
	flock 7
	[ -z "$(find "$apt_dir/updated" -mmin "-$LISTS_AGE" 2>/dev/null)" ] || return 0
	# shellcheck disable=SC2016 # apt expands them
	uri=$(apt-get indextargets --format '$(REPO_URI) $(COMPONENT) $(SUITE)' |
		awk '$2 == "main" && $3 !~ /security|updates/ { print $1; exit }')
	if [ -z "$uri" ]; then
		say "apt has no Debian archive on this machine: check sources.list"
		return 1
	fi
	: >"$apt_dir/state/status"
	for suite in $suites; do
		echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
			"$uri $suite main"
	done >"$apt_dir/sources.list"
	# One suite may fail; the download shows whether the other one is enough.
	if own_apt apt-get update; then
		touch "$apt_dir/updated"
	fi
}

fetch()
{
	local work=$dest.fetch deb
	(update_lists)
	rm -rf "$work" "$dest.new"
	mkdir -p "$work" "$dest.new"
	if ! (cd "$work" && own_apt apt-get download "$@"); then
		say "No archive that this machine reaches has $* (suites: $suites)."
		return 1
	fi
	for deb in "$work"/*.deb; do
		dpkg-deb -x "$deb" "$dest.new"
	done
	rm -rf "$work" "$dest"
	mv "$dest.new" "$dest"
}

[ ! -d "$dest" ] || exit 0
mkdir -p "$(dirname "$dest")"
step "download ${1%%=*}" fetch "$@"
