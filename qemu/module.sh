# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# Sourced by build.sh. Which kernel a module is built for, whether that kernel
# will do, and the builds of the modules, each into a folder of out/.

# built_dir KERNEL: the directory it was built in.
built_dir()
{
	if [ -n "${KDIR:-}" ] && [ "$1" = "$DEFAULT_KERNEL" ]; then
		realpath -m "$KDIR"
	else
		"$TOP/qemu/kernel.sh" path "$1"
	fi
}

# source_dir: the source of the default kernel.
source_dir()
{
	local dir
	if [ -n "${KDIR:-}" ]; then
		dir=$(realpath -m "$KDIR")
		if [ -e "$dir/source" ]; then
			realpath "$dir/source"
		else
			echo "$dir"
		fi
	else
		"$TOP/qemu/kernel.sh" source "$DEFAULT_KERNEL"
	fi
}

image()
{
	echo "$(built_dir "$1")/arch/x86/boot/bzImage"
}

# exported_symbols: what patches/ exports to liveupdate.ko.
exported_symbols()
{
	sed -n 's/^+EXPORT_SYMBOL_FOR_MODULES(\([a-z_0-9]*\), "liveupdate").*/\1/p' \
		"$TOP"/patches/*.patch
}

# kernel_ready: build the default kernel, or check the user's own.
kernel_ready()
{
	local dir symbol
	if [ -z "${KDIR:-}" ]; then
		"$TOP/qemu/kernel.sh" build "$DEFAULT_KERNEL"
		return
	fi
	dir=$(built_dir "$DEFAULT_KERNEL")
	[ -f "$dir/include/config/auto.conf" ] ||
		die "KDIR=$KDIR is not a configured and built kernel tree"
	[ -f "$dir/Module.symvers" ] ||
		die "KDIR=$KDIR has no Module.symvers: build that kernel first"
	for symbol in CONFIG_RUST CONFIG_KEXEC_HANDOVER CONFIG_MEMFD_CREATE; do
		grep -qx "$symbol=y" "$dir/include/config/auto.conf" ||
			die "the kernel in KDIR=$KDIR was built without $symbol=y"
	done
	for symbol in $(exported_symbols); do
		grep -qw "$symbol" "$dir/Module.symvers" ||
			die "the kernel in KDIR=$KDIR does not export $symbol:" \
			    "apply patches/*.patch to its source and build it again"
	done
}

# takes_module KERNEL: whether it has Rust and no Live Update Orchestrator.
takes_module()
{
	sed 's/#.*//' "$TOP/qemu/kernels" | awk -v n="$1" '
		$1 == n { for (i = 7; i <= NF; i++) if ($i == "module") found = 1 }
		END { exit !found }'
}

# module_of KERNEL: the folder of out/ with the module for it.
module_of()
{
	if [ "$1" = "$DEFAULT_KERNEL" ]; then
		echo module
	else
		echo "module-$1"
	fi
}

# make_module KERNEL [VARIABLE=VALUE...] TARGET: M= is another module's source.
make_module()
{
	local kernel=$1
	shift
	[ -f "$TOP/Kbuild" ] || die "no Kbuild here: there is no module to build"
	toolchain_ready
	"${MAKE_KERNEL[@]}" -C "$(built_dir "$kernel")" M="$TOP" "$@"
}

# build_module FOLDER KERNEL [VARIABLE=VALUE...]: into that folder of out/.
build_module()
{
	local folder=$1 kernel=$2
	shift 2
	mkdir -p "$OUT/$folder"
	step "build $folder" make_module "$kernel" MO="$OUT/$folder" "$@" modules
	if grep -q 'warning:' "$LOGS/build-$folder.log"; then
		say "    with warnings, see $LOGS/build-$folder.log"
	fi
}

# build_liveupdate KERNEL: liveupdate.ko, and beside it liveupdate_vfio.ko and
# liveupdate_iommufd.ko, unless Kbuild says that the kernel lacks something.
build_liveupdate()
{
	local folder name module
	folder=$(module_of "$1")
	build_module "$folder" "$1"
	for name in vfio iommufd; do
		module=liveupdate_$name
		rm -f "$OUT/$folder/$module.ko"
		if grep -q "/$module\.o$" "$OUT/$folder/modules.order"; then
			cp -p "$OUT/$folder/file_handlers/$name/$module.ko" "$OUT/$folder/"
		else
			say "    $(grep -m 1 "^$module.ko " "$LOGS/build-$folder.log")"
		fi
	done
}

build_default_module()
{
	build_liveupdate "$DEFAULT_KERNEL"
}

build_test_module()
{
	build_module module-test "$DEFAULT_KERNEL" LIVEUPDATE_TEST=1
}

build_forge()
{
	build_module forge "$DEFAULT_KERNEL" M="$TOP/selftests/test_modules/forge"
}

# build_handlers: modules that register handlers with the module for that kernel.
build_handlers()
{
	local kernel=${1:-$DEFAULT_KERNEL} name folder
	for name in $HANDLERS; do
		folder=$name
		[ "$kernel" = "$DEFAULT_KERNEL" ] || folder=$name-$kernel
		build_module "$folder" "$kernel" \
			M="$TOP/selftests/test_modules/$name" \
			KBUILD_EXTRA_SYMBOLS="$OUT/$(module_of "$kernel")/Module.symvers"
	done
}

# build_upstream_flb: the kernel's test of FLBs, with the module for tests.
build_upstream_flb()
{
	build_module upstream-flb "$DEFAULT_KERNEL" \
		M="$TOP/selftests/test_modules/upstream_flb" \
		KBUILD_EXTRA_SYMBOLS="$OUT/module-test/Module.symvers"
}

# build_debug_modules: what else runs on the debug kernel. Tests there mean
# little unless the module has the sanitizers of its kernel in both languages.
build_debug_modules()
{
	local object
	build_module "module-test-$DEBUG_KERNEL" "$DEBUG_KERNEL" LIVEUPDATE_TEST=1
	build_module "forge-$DEBUG_KERNEL" "$DEBUG_KERNEL" \
		M="$TOP/selftests/test_modules/forge"
	for object in liveupdate_rs.o kapi/helpers.o; do
		"$LLVM_BIN/llvm-nm" -u "$OUT/module-$DEBUG_KERNEL/$object" |
			grep __asan_ >/dev/null ||
			die "$object for $DEBUG_KERNEL was built without KASAN"
	done
}

# clippy_in FOLDER [VARIABLE=VALUE...]: objects that are up to date would not be
# checked.
clippy_in()
{
	local folder=$OUT/$1
	shift
	mkdir -p "$folder"
	rm -f "$folder"/*.o "$folder"/file_handlers/*/*.o
	make_module "$DEFAULT_KERNEL" MO="$folder" CLIPPY=1 "$@" modules
}

# run_clippy: the module, and the handlers in Rust.
run_clippy()
{
	local name folder=module-clippy${LIVEUPDATE_TEST:+-test}
	clippy_in "$folder" ${LIVEUPDATE_TEST:+LIVEUPDATE_TEST=1}
	for name in $HANDLERS; do
		[ -f "$TOP/selftests/test_modules/$name/${name}_rs.rs" ] || continue
		clippy_in "clippy-$name" M="$TOP/selftests/test_modules/$name" \
			KBUILD_EXTRA_SYMBOLS="$OUT/$folder/Module.symvers"
	done
}

# add_environment FILE: the crates include the files that these variables name.
add_environment()
{
	python3 - "$1" "$OUT/module" <<-'PY'
	import json, sys
	path, built = sys.argv[1:]
	variables = {"liveupdate_rs": {"LIVEUPDATE_BINDINGS": built + "/bindings_generated.rs"}}
	for name in "vfio", "iommufd":
	    folder = f"{built}/file_handlers/{name}"
	    variables[f"liveupdate_{name}_rs"] = {
	        "LIVEUPDATE_HANDLER_BINDINGS": f"{folder}/liveupdate_bindings.rs",
	        f"LIVEUPDATE_{name.upper()}_BINDINGS": f"{folder}/{name}_bindings.rs",
	    }
	with open(path, encoding="utf-8") as project:
	    content = json.load(project)
	for crate in content["crates"]:
	    crate["env"].update(variables.get(crate["display_name"], {}))
	with open("rust-project.json", "w", encoding="utf-8") as project:
	    json.dump(content, project, indent=4)
	PY
}

# make_rust_project: with the kernel's own script, through its makefile.
make_rust_project()
{
	build_default_module
	step "describe the crate for rust-analyzer" make_module "$DEFAULT_KERNEL" \
		MO="$OUT/module" rust-analyzer
	(cd "$TOP" && add_environment "$OUT/module/rust-project.json")
	say "    wrote $TOP/rust-project.json"
}
