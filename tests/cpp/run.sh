#!/bin/sh
# Builds and runs the C++ tests, the recorded traces, the examples and the installed package against libwatch.so;
# the last line is "N passed, N failed".   sh tests/cpp/run.sh [asan]
# LIBWATCH_LIB_DIR: where libwatch.so is (target/release). CXX, CC, CMAKE, PKG_CONFIG, PYTHON: the tools.
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
include=$root/include
examples=$root/bindings/cpp/examples
CXX=${CXX:-c++}
CC=${CC:-cc}
CMAKE=${CMAKE:-cmake}
PKG_CONFIG=${PKG_CONFIG:-pkg-config}
lib_dir=${LIBWATCH_LIB_DIR:-$root/target/release}
case $lib_dir in /*) ;; *) lib_dir=$(pwd)/$lib_dir ;; esac
warnings="-Wall -Wextra -Wpedantic -Werror"
sanitize=
case ${1:-} in
  "") ;;
  # GCC's maybe-uninitialized is known to be wrong beside sanitizers, so it is left to the plain run.
  asan) sanitize="-g -fsanitize=address,undefined -fno-sanitize-recover=all -Wno-maybe-uninitialized" ;;
  *) echo "usage: $0 [asan]" >&2; exit 2 ;;
esac
if [ ! -f "$lib_dir/libwatch.so" ]; then
  echo "no libwatch.so in $lib_dir: build it, or set LIBWATCH_LIB_DIR" >&2
  exit 2
fi

work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
under=
passed=0
failed=0

# The loader asks for the SONAME, which the build directory does not have.
abi=$(sed -n 's/^#define WATCH_ABI_VERSION \([0-9]*\).*/\1/p' "$include/watch.h")
mkdir "$work/lib" "$work/bin"
ln -s "$lib_dir/libwatch.so" "$work/lib/libwatch.so"
ln -s "$lib_dir/libwatch.so" "$work/lib/libwatch.so.$abi"
LD_LIBRARY_PATH=$work/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export LD_LIBRARY_PATH

pass() { passed=$((passed + 1)); }
fail() {
  failed=$((failed + 1))
  echo "FAILED $1"
  sed 's/^/    /' "$work/log"
}
# step NAME COMMAND...: one check.
step() {
  name=$1
  shift
  if "$@" >"$work/log" 2>&1; then pass; else fail "$name"; fi
}
# build NAME FILE...: a program with flags $flags.
build() {
  name=$1
  shift
  # shellcheck disable=SC2086
  if ! $CXX $flags $warnings $sanitize -I"$include" "$@" -o "$work/bin/$name" -L"$work/lib" -lwatch -pthread \
      >"$work/log" 2>&1; then
    fail "building $name ($flags)"
    return 1
  fi
}
# program NAME FILE...: a test program; its own closing line counts.
program() {
  build "$@" || return
  name=$1
  "$work/bin/$name" >"$work/log" 2>&1
  status=$?
  line=$(tail -n 1 "$work/log")
  good=$(echo "$line" | sed -n 's/^\([0-9]*\) passed, [0-9]* failed$/\1/p')
  bad=$(echo "$line" | sed -n 's/^[0-9]* passed, \([0-9]*\) failed$/\1/p')
  if [ -z "$good" ] || [ "$status" -ne 0 ] && [ "${bad:-0}" -eq 0 ]; then
    fail "$name ($flags): ended with $status before its last line"
    return
  fi
  passed=$((passed + good))
  failed=$((failed + bad))
  if [ "$bad" -ne 0 ]; then
    echo "FAILED $name ($flags)"
    sed 's/^/    /' "$work/log"
  fi
}
# example NAME EXPECTED ARGUMENT...: runs it; its output must have this line.
example() {
  name=$1
  expected=$2
  shift 2
  if "$work/bin/$name" "$@" >"$work/log" 2>&1 && grep -Fqx -- "$expected" "$work/log"; then
    pass
  else
    echo "expected: $expected" >>"$work/log"
    fail "example $name"
  fi
}

headers() {
  for header in watch.h watch_data.hpp watch_txn.hpp watch.hpp; do
    echo "#include <$header>" >"$work/one.cpp"
    for std in c++17 c++20 c++2b "c++17 -fno-exceptions -fno-rtti"; do
      # shellcheck disable=SC2086
      step "$header alone with $std" $CXX -std=$std $warnings -Wconversion -Wshadow -Wold-style-cast \
        -I"$include" -fsyntax-only "$work/one.cpp"
    done
  done
  echo "#include <watch.h>" >"$work/one.c"
  for std in c99 c11 c17; do
    # shellcheck disable=SC2086
    step "watch.h alone with $std" $CC -std=$std $warnings -I"$include" -fsyntax-only "$work/one.c"
  done
}

tests() {
  # The slower compilation finds more, once is enough.
  for flags in "-O1 -std=c++17" "-std=c++20" "-std=c++17 -fno-exceptions -fno-rtti"; do
    for file in "$here"/test_*.cpp; do program "$(basename "$file" .cpp)" "$file"; done
    program units "$here/unit_a.cpp" "$here/unit_b.cpp"
    [ -z "$sanitize" ] || break
  done
  flags="-std=c++2b" # std::expected
  program test_result "$here/test_result.cpp"
}

replays() {
  . "$here/../trace/replay.sh"
  replay_prepare "$here/../conformance" || return
  for flags in "-O1 -std=c++17" "-std=c++20 -fno-exceptions -fno-rtti"; do
    build replay "$here/replay.cpp" && replay_traces "replay ($flags)" "$work/bin/replay" memory files
    [ -z "$sanitize" ] || break
  done
}

run_examples() {
  for file in "$examples"/*.c; do
    name=$(basename "$file" .c)
    # shellcheck disable=SC2086
    step "building $name" $CC -std=c99 -D_POSIX_C_SOURCE=200809L $warnings $sanitize -I"$include" "$file" \
      -o "$work/bin/$name" -L"$work/lib" -lwatch -pthread
  done
  # shellcheck disable=SC2086
  step "building watch.cpp" $CXX -std=c++17 $warnings $sanitize -I"$include" "$examples/watch.cpp" \
    -o "$work/bin/watch_cpp" -L"$work/lib" -lwatch -pthread
  example hello "greeting = hello (version 1, revision 2)" "$work/hello.store"
  example hello "greeting = hello (version 3, revision 4)" "$work/hello.store"
  example watch_poll "PUT    sensor/kitchen = 22 at 4"
  example watch_callback "2 events"
  example resume_after_restart "resume at 1" "$work/resume.store"
  example resume_after_restart "resume at 4" "$work/resume.store"
  example compacted "event 4"
  example txn_cas "counter = 400"
  example watch_cpp "service/a = 10.0.0.3"
}

# Another directory than it was installed to: the package must not remember the first.
package() {
  for tool in $CMAKE $PKG_CONFIG; do
    if ! command -v "$tool" >/dev/null 2>&1; then
      echo "SKIPPED the installed package: there is no $tool"
      echo "a machine that checks everything needs $tool" >"$work/log"
      [ -z "${CI:-}" ] || fail "the installed package"
      return
    fi
  done
  step "cmake configures the package" $CMAKE -S "$root/bindings/cpp" -B "$work/package" \
    -DLIBWATCH_LIB_DIR="$lib_dir"
  step "cmake installs the package" $CMAKE --install "$work/package" --prefix "$work/first"
  mv "$work/first" "$work/prefix"
  step "cmake finds the package" $CMAKE -S "$examples" -B "$work/consumer" -DCMAKE_PREFIX_PATH="$work/prefix"
  step "cmake builds the examples" $CMAKE --build "$work/consumer"
  LD_LIBRARY_PATH=$work/prefix/lib
  for name in hello hello_static; do
    if [ -x "$work/consumer/$name" ]; then
      step "cmake's $name runs" "$work/consumer/$name" "$work/$name.store"
    elif [ "$name" = hello ] || [ -f "$lib_dir/libwatch.a" ]; then
      step "cmake built $name" false
    fi
  done
  sed 's/find_package(libwatch 0.1/find_package(libwatch 9.0/' "$examples/CMakeLists.txt" >"$work/log"
  mkdir "$work/wrong"
  cp "$examples"/*.c "$examples"/*.cpp "$work/wrong"
  cp "$work/log" "$work/wrong/CMakeLists.txt"
  step "another version is refused" sh -c "! $CMAKE -S '$work/wrong' -B '$work/wrong/build' \
    -DCMAKE_PREFIX_PATH='$work/prefix'"
  PKG_CONFIG_PATH=$work/prefix/lib/pkgconfig
  export PKG_CONFIG_PATH
  step "pkg-config knows the version" $PKG_CONFIG --atleast-version=0.1.0 libwatch
  step "pkg-config builds" sh -c \
    "$CC '$examples/hello.c' -o '$work/bin/pc' \$($PKG_CONFIG --cflags --libs libwatch)"
  example pc "greeting = hello (version 1, revision 2)" "$work/pc.store"
}

headers
tests
replays
run_examples
[ -n "$sanitize" ] || package
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
