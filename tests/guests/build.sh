#!/bin/sh
# Builds the C guests of the tests and of examples-c/10_guest: NAME.c -> NAME.wasm beside it, which are checked in so
# that nobody needs a WebAssembly compiler. Needs clang (Debian: clang) and wasm-ld (Debian: lld-19).
# Names can be given: CLANG, WASM_LD. --check compiles, asks build/bin/10_guest to run what came of nearest.c if that has been
# built, and says "skipped" where it cannot.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
CLANG=${CLANG:-clang}
WASM_LD=${WASM_LD:-$(command -v wasm-ld-19 || command -v wasm-ld || true)}
if ! command -v "$CLANG" >/dev/null 2>&1 || [ -z "$WASM_LD" ]; then
    echo "tests/guests/build.sh: skipped: no clang or wasm-ld" >&2
    [ "${1:-}" = --check ] && exit 0
    exit 1
fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
for source in "$here"/*.c "$here"/../../examples-c/10_guest/*.c; do
    name=$(basename "$source" .c)
    "$CLANG" --target=wasm32 -std=c99 -Os -Wall -Wextra -Werror -pedantic -ffreestanding \
        -I"$here/../../include" -c "$source" -o "$tmp/$name.o"
    "$WASM_LD" --no-entry --strip-all --stack-first -z stack-size=16384 \
        "$tmp/$name.o" -o "$tmp/$name.wasm"
    [ "${1:-}" = --check ] || cp "$tmp/$name.wasm" "${source%.c}.wasm"
    echo "$name.wasm: $(wc -c <"$tmp/$name.wasm") bytes"
done
# The checked-in one may be older than the header: what is built from it today must run, and answer the same.
runner=$here/../../build/bin/10_guest
if [ "${1:-}" = --check ] && [ -x "$runner" ]; then
    cd "$here/../.."
    "$runner" "$tmp/nearest.wasm" Norway >"$tmp/fresh"
    "$runner" examples-c/10_guest/nearest.wasm Norway | diff - "$tmp/fresh"
    echo "nearest.wasm runs"
fi
