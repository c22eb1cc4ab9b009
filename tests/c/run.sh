#!/bin/sh
# Compiles the C tests, runs them against libwatch.so, replays the recorded traces, and prints one closing line.
#
#   LIBWATCH_LIB_DIR=target/debug tests/c/run.sh [plain|asan|valgrind]
#
# plain     also compiles the header alone, as C and as C++ of each year
# asan      the tests with AddressSanitizer and UndefinedBehaviorSanitizer
# valgrind  the tests under memcheck: no error, nothing definitely lost
#
# CC, CXX and PYTHON choose the tools. WATCH_TEST_SECONDS is each program's watchdog.
set -u

mode=${1:-plain}
here=$(cd "$(dirname "$0")" && pwd)
include=$here/../../include
CC=${CC:-cc}
CXX=${CXX:-c++}
passed=0
failed=0

fail() {
  echo "FAILED $1"
  failed=$((failed + 1))
}

finish() {
  echo "$passed passed, $failed failed"
  [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
  exit
}

need() {
  if ! command -v "$1" >/dev/null 2>&1; then
    fail "$1 is missing: $2"
    finish
  fi
}

need "$CC" "set CC to a C compiler, or install one (Debian: apt-get install gcc)"
lib_dir=${LIBWATCH_LIB_DIR:-}
if [ -z "$lib_dir" ] || [ ! -e "$lib_dir/libwatch.so" ]; then
  fail "no libwatch.so in LIBWATCH_LIB_DIR: cargo build -p watch-capi, then LIBWATCH_LIB_DIR=target/debug"
  finish
fi
lib_dir=$(cd "$lib_dir" && pwd)

work=$(mktemp -d "${TMPDIR:-/tmp}/watch-c-tests-XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
TMPDIR=$work
export TMPDIR
ln -s "$lib_dir/libwatch.so" "$work/libwatch.so"
abi=$(sed -n 's/^#define WATCH_ABI_VERSION \([0-9]*\).*/\1/p' "$include/watch.h")
ln -s "$lib_dir/libwatch.so" "$work/libwatch.so.$abi"
LD_LIBRARY_PATH=$work${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export LD_LIBRARY_PATH

warnings="-Wall -Wextra -Wpedantic -Werror"
flags="-std=c99 $warnings -g -O1 -pthread"
under=
case $mode in
plain) ;;
asan)
  flags="$flags -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer"
  need nm "install binutils (Debian: apt-get install binutils)"
  ;;
valgrind)
  need valgrind "install it (Debian: apt-get install valgrind)"
  under="valgrind --quiet --fair-sched=yes --child-silent-after-fork=yes --error-exitcode=1"
  under="$under --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite"
  WATCH_TEST_SECONDS=${WATCH_TEST_SECONDS:-900}
  export WATCH_TEST_SECONDS
  ;;
*)
  echo "usage: $0 [plain|asan|valgrind]" >&2
  exit 2
  ;;
esac

# The header alone, by the compiler and year given.
header() {
  if "$1" -x "$2" "-std=$3" $warnings -Wconversion -I "$include" -c "$here/header_only.c" \
    -o "$work/header.o"; then
    passed=$((passed + 1))
  else
    fail "watch.h with $1 -std=$3"
  fi
}

if [ "$mode" = plain ]; then
  need "$CXX" "set CXX to a C++ compiler, or install one (Debian: apt-get install g++)"
  for year in c99 c11 c17; do
    header "$CC" c "$year"
  done
  for year in c++11 c++17 c++20; do
    header "$CXX" c++ "$year"
  done
fi

# Adds the numbers of a program's closing line; a program without one has failed as a whole.
run() {
  echo "== $1"
  $under "$work/$1" >"$work/$1.out" 2>&1
  code=$?
  cat "$work/$1.out"
  line=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$work/$1.out" | tail -n 1)
  if [ -z "$line" ]; then
    fail "$1: no closing line, exit $code"
    return
  fi
  wrong=${line#*passed, }
  wrong=${wrong% failed}
  passed=$((passed + ${line%% *}))
  failed=$((failed + wrong))
  if [ "$code" -ne 0 ] && [ "$wrong" -eq 0 ]; then
    fail "$1: exit $code"
  fi
}

# Compiles one source; a program that cannot be built has failed as a whole.
build() {
  if ! "$CC" $flags -I "$include" -I "$here" "$here/$1.c" -o "$work/$1" -L "$work" -lwatch; then
    fail "$1 does not compile"
    return 1
  fi
  if [ "$mode" = asan ] && ! nm "$work/$1" | grep -q __asan_init; then
    fail "$1: no __asan_init in the program, so nothing is checked"
    return 1
  fi
}

for source in "$here"/test_*.c "$here"/oldclient.c; do
  name=$(basename "$source" .c)
  build "$name" && run "$name"
done

. "$here/../trace/replay.sh"
# Valgrind needs a second for each program's start; stores in files have all that those in memory have, and more.
stores="memory files"
[ "$mode" != valgrind ] || stores=files
# shellcheck disable=SC2086
build replay && replay_prepare "$here/../conformance" && replay_traces replay "$work/replay" $stores
finish
