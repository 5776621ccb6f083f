#!/bin/sh
# Builds realm_guest.wasm and realm_guest_slim.wasm, byte for byte the same from any directory under the same compiler.
#
#   guest/build.sh            build, and replace the checked-in files and their .toolchain
#   guest/build.sh --check    build, and compare with the checked-in files; exit 1 if they differ.
#                             Under another compiler the bytes differ for no fault of ours: the
#                             check then says "skipped" and exits 0
#
# Needs a cargo, a rustc that has the standard library's source where -Zbuild-std looks for it
# (Debian: rustc-web rust-web-src), wasm-ld (lld-19) and wasm-opt (binaryen). Other programs can be
# named: RUSTC, CARGO, WASM_LD, WASM_OPT.
set -eu

here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
mode=${1:-build}
record=$here/realm_guest.wasm.toolchain

pick() { # first of the arguments that is a program
    for p in "$@"; do
        if command -v "$p" >/dev/null 2>&1; then command -v "$p"; return; fi
    done
}
if [ -z "${RUSTC:-}" ] && [ -x /usr/bin/rustc ]; then RUSTC=/usr/bin/rustc; fi
RUSTC=${RUSTC:-$(pick rustc)}
CARGO=${CARGO:-$(pick cargo)}
WASM_LD=${WASM_LD:-$(pick wasm-ld-19 wasm-ld rust-lld)}
WASM_OPT=${WASM_OPT:-$(pick wasm-opt)}

skip() {
    echo "guest/build.sh: skipped: $1" >&2
    [ "$mode" = --check ] && exit 0
    exit 1
}
[ -n "$RUSTC" ] && [ -n "$CARGO" ] || skip "no rustc or cargo"
[ -n "$WASM_LD" ] || skip "no wasm-ld (Debian: lld-19)"
[ -n "$WASM_OPT" ] || skip "no wasm-opt (Debian: binaryen)"

toolchain=$(
    "$RUSTC" --version
    "$WASM_LD" --version | sed 's/.*LLD/LLD/' | head -n 1
    "$WASM_OPT" --version | head -n 1
)
if [ "$mode" = --check ] && [ "$toolchain" != "$(cat "$record" 2>/dev/null)" ]; then
    echo "recorded:" >&2
    cat "$record" >&2 || true
    echo "here:" >&2
    echo "$toolchain" >&2
    skip "the guests were NOT compared: they were built with another toolchain"
fi

target=${CARGO_TARGET_DIR:-$here/target}
unset CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS || true
CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$WASM_LD
export RUSTC RUSTC_BOOTSTRAP=1 CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER

# build NAME PROFILE STACK_BYTES LEVEL RUSTFLAGS [CARGO OPTIONS...]: makes $target/NAME.wasm.
# The places of panics' source lines are left out: they hold paths, and nobody could read them.
build() {
    name=$1 profile=$2 stack=$3 level=$4 flags=$5
    shift 5
    (cd "$here" && RUSTFLAGS="-Zlocation-detail=none -Clink-arg=--stack-first -Clink-arg=-zstack-size=$stack $flags" \
        "$CARGO" build --quiet --profile "$profile" --lib --locked --target-dir "$target" \
        -Zbuild-std=core,alloc --target wasm32-unknown-unknown "$@") || exit 1
    # shellcheck disable=SC2086
    "$WASM_OPT" $level --strip-debug --strip-producers --enable-bulk-memory --enable-sign-ext \
        --enable-mutable-globals --enable-nontrapping-float-to-int --enable-reference-types \
        --enable-multivalue -o "$target/$name.wasm" "$target/wasm32-unknown-unknown/$profile/realm_guest.wasm"
}
build realm_guest release 65536 "-O3 -ocimfs 0" ""
# For a microcontroller: the features that Cargo.toml explains left out, and a panic is a trap without a sentence.
build realm_guest_slim slim 16384 -Oz "-Zunstable-options -Cpanic=immediate-abort" \
    --no-default-features --features exports -Zbuild-std-features=optimize_for_size

for name in realm_guest realm_guest_slim; do
    if [ "$mode" != --check ]; then
        cp "$target/$name.wasm" "$here/$name.wasm"
        echo "guest/$name.wasm: $(wc -c <"$here/$name.wasm") bytes"
    elif cmp -s "$target/$name.wasm" "$here/$name.wasm"; then
        echo "guest/$name.wasm: the same bytes as a fresh build"
    else
        echo "guest/$name.wasm differs from a fresh build: run guest/build.sh and commit" >&2
        exit 1
    fi
done
[ "$mode" = --check ] || echo "$toolchain" >"$record"
