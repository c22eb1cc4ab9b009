#!/bin/sh
# Builds and runs the README's programs in C, C++ and Rust and holds what they print against what the README
# says they print; the last line is "N passed, N failed".   sh tests/readme/run.sh
# LIBWATCH_PREFIX: where `make install` put libwatch. LIBWATCH_RLIB_DIR: where cargo left liblibwatch.rlib
# (target/debug). CC, CXX, RUSTC, PKG_CONFIG: the tools.
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
readme=$root/README.md
rlib_dir=${LIBWATCH_RLIB_DIR:-$root/target/debug}
prefix=${LIBWATCH_PREFIX:-}
CC=${CC:-cc}
CXX=${CXX:-c++}
RUSTC=${RUSTC:-rustc}
PKG_CONFIG=${PKG_CONFIG:-pkg-config}
warnings="-Wall -Wextra -Wpedantic -Werror"
for needed in "${prefix:-LIBWATCH_PREFIX}/include/watch.h" "$rlib_dir/liblibwatch.rlib"; do
  if [ ! -f "$needed" ]; then
    echo "no $needed: make test-readme makes it" >&2
    exit 2
  fi
done

work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
passed=0
failed=0

pass() { passed=$((passed + 1)); }
fail() {
  failed=$((failed + 1))
  echo "FAILED $1"
  sed 's/^/    /' "$work/log"
}
# block LANGUAGE: the one fenced block of the README in this language.
block() {
  awk -v begin="\`\`\`$1" '$0 == "```" { inside = 0 } inside { print } $0 == begin { inside = 1; ++count }
    END { exit count != 1 }' "$readme"
}
# program NAME BLOCK FILE COMPILER...: compiled, run twice in a folder of its own; prints what the README says.
program() {
  name=$1
  mkdir "$work/$name"
  if ! block "$2" >"$work/$name/$3" 2>"$work/log"; then
    echo "the README does not have exactly one block of $2" >"$work/log"
    fail "$name"
    return
  fi
  cd "$work/$name" || exit 2
  shift 3
  if ! "$@" >"$work/log" 2>&1; then
    fail "building $name"
    return
  fi
  for run in first second; do
    if LD_LIBRARY_PATH=$prefix/lib ./program >"$work/log" 2>&1 && cmp -s "$work/log" "$work/expected"; then
      pass
    else
      fail "$run run of $name"
    fi
  done
}

block text >"$work/expected" || { echo "the README does not say what its programs print" >&2; exit 2; }

# shellcheck disable=SC2086
program c c main.c $CC -std=c99 $warnings -I"$prefix/include" main.c -o program -L"$prefix/lib" -lwatch
# shellcheck disable=SC2086
program cpp cpp main.cpp $CXX -std=c++17 $warnings -I"$prefix/include" main.cpp -o program -L"$prefix/lib" -lwatch
program rust rust main.rs "$RUSTC" --edition 2024 -D warnings main.rs -o program \
  --extern "libwatch=$rlib_dir/liblibwatch.rlib" -L "dependency=$rlib_dir/deps"
if command -v "$PKG_CONFIG" >/dev/null 2>&1; then
  # shellcheck disable=SC2016
  program pkgconfig c main.c sh -c \
    'PKG_CONFIG_PATH=$1/lib/pkgconfig; export PKG_CONFIG_PATH; $2 main.c $($3 --cflags --libs libwatch) -o program' \
    sh "$prefix" "$CC" "$PKG_CONFIG"
else
  echo "SKIPPED the README's pkg-config command: no $PKG_CONFIG"
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
