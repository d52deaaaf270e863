#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# kernel.sh path NAME    print the build directory of a kernel of the table in
#                        "kernels", building nothing
# kernel.sh source NAME  the same for its source
# kernel.sh build NAME   build it unless the cache has it
#
# Source, patches, configuration and toolchain are part of the directory's
# name, so a change of any of them builds anew and an old one is never used by
# mistake. KSRC= (a kernel source tree, which is copied) replaces the download of
# the version that it is of. If no archive has the source any more, the exit
# status is 77.

. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/toolchain.sh"

lookup()
{
	local line
	line=$(sed 's/#.*//' "$TOP/qemu/kernels" | awk -v n="$1" '$1 == n')
	[ -n "$line" ] || die "no kernel named $1 in qemu/kernels"
	read -r _ VERSION FRAGMENTS <<<"$line"
}

fragments()
{
	local f
	for f in $FRAGMENTS; do
		# Options only: a word in a comment must not build a kernel anew.
		grep -E '^(CONFIG_|# CONFIG_.* is not set)' \
			"$TOP/qemu/config/$f.config"
	done
}

# own_source: KSRC= names a tree of the version that is wanted.
own_source()
{
	local of
	[ -n "${KSRC:-}" ] || return 1
	[ -f "$KSRC/Kbuild" ] || die "KSRC=$KSRC is not a kernel source tree"
	of=$(awk '$1 == "VERSION" { v = $3 } $1 == "PATCHLEVEL" { print v "." $3; exit }' \
		"$KSRC/Makefile")
	# The default kernel is built from it whatever it is.
	[ "$of" = "$VERSION" ] || [ "$NAME" = "$DEFAULT_KERNEL" ]
}

source_dir()
{
	local key
	if own_source; then
		key=$({ realpath "$KSRC"; head -n 5 "$KSRC/Makefile"
			cat "$TOP"/patches/*.patch; } | hash_of)
		echo "$CACHE/src/own-$key"
	else
		echo "$CACHE/src/$VERSION-$(cat "$TOP"/patches/*.patch | hash_of)"
	fi
}

build_dir()
{
	local key
	key=$({ source_dir; fragments; toolchain_key; } | hash_of)
	echo "$CACHE/kernels/$1-$key"
}

unpack_source()
{
	local dir=$1 deb p
	rm -rf "$dir.new"
	mkdir -p "$dir.new"
	if own_source; then
		rsync -a --exclude=.git "$KSRC/" "$dir.new/"
	else
		deb=$CACHE/deb/linux-source-$VERSION
		tar -xf "$deb/usr/src/linux-source-$VERSION.tar.xz" \
			-C "$dir.new" --strip-components=1
	fi
	for p in "$TOP"/patches/*.patch; do
		echo "applying ${p##*/}"
		patch -d "$dir.new" -p1 --forward --no-backup-if-mismatch <"$p"
	done
	mv "$dir.new" "$dir"
}

get_source()
{
	local dir
	dir=$(source_dir)
	[ ! -d "$dir" ] || return 0
	if ! own_source &&
		! "$TOP/qemu/archive.sh" "linux-source-$VERSION" \
			"$CACHE/deb/linux-source-$VERSION"; then
		say "error: no source of Linux $VERSION: connect to the network, or" \
			"give a source tree (KSRC=) or a built one (KDIR=)"
		exit 77
	fi
	step "unpack and patch Linux $VERSION" unpack_source "$dir"
}

configure()
{
	local src=$1 dir=$2 missing
	fragments >"$dir/fragment.config"
	"${MAKE_KERNEL[@]}" -C "$src" O="$dir" \
		KCONFIG_ALLCONFIG="$dir/fragment.config" allnoconfig
	# allnoconfig drops silently what depends on something that is not set.
	missing=$(grep -E '^(CONFIG_|# CONFIG_)' "$dir/fragment.config" |
		while read -r line; do
			case "$line" in
			"# "*)
				name=${line#\# }
				name=${name%% *}
				! grep -q "^$name=" "$dir/.config" || echo "$line"
				;;
			*)
				grep -qxF "$line" "$dir/.config" || echo "$line"
				;;
			esac
		done)
	if [ -n "$missing" ]; then
		echo "these options did not take:"
		echo "$missing"
		return 1
	fi
}

compile()
{
	"${MAKE_KERNEL[@]}" -C "$1" O="$2" bzImage modules headers
}

build()
{
	local name=$1 src dir
	dir=$(build_dir "$name")
	[ ! -f "$dir/.built" ] || return 0
	# Whoever waits finds it built.
	mkdir -p "$CACHE"
	exec 8>"$CACHE/kernels.lock"
	flock 8
	[ ! -f "$dir/.built" ] || return 0
	toolchain_ready
	get_source
	src=$(source_dir)
	dir=$(build_dir "$name")
	mkdir -p "$dir"
	step "configure kernel $name" configure "$src" "$dir"
	if grep -qx CONFIG_RUST=y "$dir/fragment.config"; then
		step "check the Rust toolchain" "${MAKE_KERNEL[@]}" -C "$src" \
			O="$dir" rustavailable
	fi
	step "build kernel $name (about 8 minutes on two cores)" \
		compile "$src" "$dir"
	touch "$dir/.built"
}

[ $# -eq 2 ] || die "usage: kernel.sh path|source|build NAME"
NAME=$2
lookup "$NAME"
toolchain_find
case "$1" in
path) build_dir "$NAME" ;;
source) source_dir ;;
build) build "$NAME" ;;
*) die "kernel.sh: no such command: $1" ;;
esac
