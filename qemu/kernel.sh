#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# kernel.sh path NAME    print the build directory of a kernel of the table
#                        qemu/kernels; builds nothing
# kernel.sh source NAME  print its source directory; fetches nothing
# kernel.sh fetch NAME   fetch its source unless the cache has it
# kernel.sh build NAME   build it unless the cache has it
#
# The name of a build directory depends on source, patches, configuration and
# toolchain. So a change of any of them builds anew, and no old kernel is used by
# mistake. KSRC= (a kernel source tree, which is copied) replaces the download of
# its version. The exit status is 77 if no archive has the source.

. "$(dirname "$0")/../tools/common.sh"
. "$TOP/tools/toolchain.sh"

NO_SOURCE=77

# lookup NAME: read its line of the table.
lookup()
{
	local line
	line=$(sed 's/#.*//' "$TOP/qemu/kernels" | awk -v n="$1" '$1 == n')
	[ -n "$line" ] || die "no kernel named $1 in qemu/kernels"
	read -r NAME VERSION MINUTES OBJECTS START PATCHES FRAGMENTS <<<"$line"
}

# fragments: the options only, so that a comment does not build a kernel anew.
fragments()
{
	local f
	for f in $FRAGMENTS; do
		grep -E '^(CONFIG_|# CONFIG_.* is not set)' \
			"$TOP/qemu/config/$f.config"
	done
}

# own_source: whether KSRC= names a tree of the version that is wanted. The
# default kernel is built from KSRC= whatever its version.
own_source()
{
	local of
	[ -n "${KSRC:-}" ] || return 1
	[ -f "$KSRC/Kbuild" ] || die "KSRC=$KSRC is not a kernel source tree"
	of=$(awk '$1 == "VERSION" { v = $3 } $1 == "PATCHLEVEL" { print v "." $3; exit }' \
		"$KSRC/Makefile")
	[ "$of" = "$VERSION" ] || [ "$NAME" = "$DEFAULT_KERNEL" ]
}

# patches: those that the source gets, for all versions and for this one, by number.
patches()
{
	[ "$PATCHES" != - ] || return 0
	find "$TOP/patches" "$TOP/patches/$VERSION" -maxdepth 1 -name '*.patch' \
		-printf '%f %p\n' 2>/dev/null | sort | cut -d ' ' -f 2-
}

source_dir()
{
	local key
	# shellcheck disable=SC2046 # no file of patches/ has a blank in its name
	key=$({ ! own_source || { realpath "$KSRC"; head -n 5 "$KSRC/Makefile"; }
		cat /dev/null $(patches); } | hash_of)
	if own_source; then
		echo "$CACHE/src/own-$key"
	else
		echo "$CACHE/src/$VERSION-$key"
	fi
}

build_dir()
{
	local key
	key=$({ source_dir; fragments; toolchain_key; } | hash_of)
	echo "$CACHE/kernels/$NAME-$key"
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
	for p in $(patches); do
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
		! "$TOP/tools/archive.sh" "$CACHE/deb/linux-source-$VERSION" \
			"linux-source-$VERSION"; then
		say "error: no source of Linux $VERSION: connect to the network, or" \
			"pass a source tree (KSRC=) or a built one (KDIR=)"
		exit "$NO_SOURCE"
	fi
	step "unpack and patch Linux $VERSION" unpack_source "$dir"
}

# copy_objects SOURCE DIR: begin with the objects of the kernel START, if it is built.
# make builds again what depends on an option that differs, or on a file that is
# newer. So the paths in its commands become those of this kernel, and files that a
# patch changes in one of the two sources only become new.
copy_objects()
{
	local from from_source
	[ "$START" != - ] || return 0
	from=$("$TOP/qemu/kernel.sh" path "$START")
	from_source=$("$TOP/qemu/kernel.sh" source "$START")
	[ -f "$from/.built" ] || return 0
	cp -a --reflink=auto "$from/." "$2"
	rm -f "$2/.built"
	grep -rlF --include='*.cmd' -e "$from/" -e "$from_source" "$2" |
		xargs -r sed -i -e "s|$from/|$2/|g" -e "s|$from_source|$1|g"
	[ "$from_source" = "$1" ] ||
		sed -n "s|^+++ b/|$1/|p" "$TOP"/patches/*.patch "$TOP"/patches/*/*.patch |
			sort -u | xargs touch -c
}

# configure SOURCE DIR: allnoconfig silently drops an option whose dependency is
# not set, so look at the result.
configure()
{
	local src=$1 dir=$2 line name missing=
	copy_objects "$src" "$dir"
	fragments >"$dir/fragment.config"
	"${MAKE_KERNEL[@]}" -C "$src" O="$dir" \
		KCONFIG_ALLCONFIG="$dir/fragment.config" allnoconfig
	while read -r line; do
		case "$line" in
		"# "*)
			name=${line#\# }
			! grep -q "^${name%% *}=" "$dir/.config" || missing+="$line"$'\n'
			;;
		*)
			grep -qxF "$line" "$dir/.config" || missing+="$line"$'\n'
			;;
		esac
	done <"$dir/fragment.config"
	if [ -n "$missing" ]; then
		printf 'these options did not take:\n%s' "$missing"
		return 1
	fi
	if grep -qx CONFIG_RUST=y "$dir/fragment.config"; then
		"${MAKE_KERNEL[@]}" -C "$src" O="$dir" rustavailable
	fi
}

# compile SOURCE DIR: nothing is built as a module, but the target makes
# Module.symvers, which modules outside of the tree need. The headers are for the
# programs that run on this kernel.
compile()
{
	"${MAKE_KERNEL[@]}" -C "$1" O="$2" bzImage modules headers
}

build()
{
	local src dir counted
	dir=$(build_dir)
	[ ! -f "$dir/.built" ] || return 0
	# One build at a time: a second one would wait for the same cores, and finds
	# the kernel built if it wanted the same one.
	mkdir -p "$CACHE"
	exec 8>"$CACHE/kernels.lock"
	flock 8
	[ ! -f "$dir/.built" ] || return 0
	together toolchain_ready get_source
	toolchain_find
	src=$(source_dir)
	mkdir -p "$dir"
	step "configure kernel $NAME" configure "$src" "$dir"
	counted=$CACHE/objects-$NAME
	STEP_OBJECTS=$(cat "$counted" 2>/dev/null || echo "$OBJECTS") \
		step "build kernel $NAME (about $MINUTES min on two idle cores)" \
		compile "$src" "$dir"
	objects_in "$LOGS/build-kernel-$NAME.log" >"$counted"
	touch "$dir/.built"
}

[ $# -eq 2 ] || die "usage: kernel.sh path|source|fetch|build NAME"
lookup "$2"
toolchain_find
case "$1" in
path) build_dir ;;
source) source_dir ;;
fetch) get_source ;;
build) build ;;
*) die "usage: kernel.sh path|source|fetch|build NAME" ;;
esac
