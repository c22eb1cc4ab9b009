# The recorded traces through a program that replays them; sourced by the runners of the C and the C++ tests,
# which have $work, $under, $passed and $failed.
#
#   replay_prepare FOLDER                    the traces as programs and expected transcripts, in $work/trace
#   replay_traces NAME PROGRAM MODE...       each trace by the PROGRAM, once in each MODE: memory, files

traces_at_least=17

replay_failed() {
  failed=$((failed + 1))
  echo "FAILED $1"
  [ ! -s "$work/trace/log" ] || sed 's/^/    /' "$work/trace/log"
}

replay_prepare() {
  recorded=$1
  steps=$recorded/../trace/steps.py
  mkdir "$work/trace"
  : >"$work/trace/log"
  if ! counts=$("${PYTHON:-python3}" "$steps" "$work/trace" "$recorded"/trace-*.json 2>"$work/trace/log")
  then
    replay_failed "the traces cannot be read; python3 is needed"
    return 1
  fi
  if [ "${counts% *}" -lt "$traces_at_least" ]; then
    replay_failed "${counts% *} traces, but there were $traces_at_least"
    return 1
  fi
}

# replay_one PROGRAM MODE TEXT: whether the text gives its transcript; the log has the first difference.
replay_one() {
  rm -rf "$work/trace/store"
  folder=
  [ "$2" = memory ] || folder=$work/trace/store
  # shellcheck disable=SC2086
  $under "$1" $folder <"$3.program" >"$work/trace/found" 2>"$work/trace/log"
  code=$?
  if [ "$code" -ne 0 ]; then
    tail -n 1 "$work/trace/found" >>"$work/trace/log"
    echo "ended with $code" >>"$work/trace/log"
    return 1
  fi
  # A line begins with the number of its step: that is the place in the trace.
  diff "$3.expected" "$work/trace/found" >"$work/trace/diff" && return 0
  sed -n '1s/.*/expected <, found >:/p; 2,4p' "$work/trace/diff" >>"$work/trace/log"
  return 1
}

# replay_spoilt PROGRAM TRACE SED: the trace, changed in one place, is not replayed.
replay_spoilt() {
  sed "$3" "$recorded/$2.json" >"$work/trace/spoilt.json"
  : >"$work/trace/log"
  if cmp -s "$recorded/$2.json" "$work/trace/spoilt.json"; then
    replay_failed "'$3' changes nothing in $2"
  elif ! "${PYTHON:-python3}" "$steps" "$work/trace" "$work/trace/spoilt.json" >/dev/null; then
    replay_failed "$2 after '$3' is no trace any more"
  elif replay_one "$1" memory "$work/trace/spoilt"; then
    replay_failed "$2 after '$3' was replayed without a difference"
  else
    passed=$((passed + 1))
  fi
}

replay_traces() {
  name=$1
  program=$2
  shift 2
  before=$passed
  for store in "$@"; do
    for text in "$work"/trace/trace-*.program; do
      text=${text%.program}
      if replay_one "$program" "$store" "$text"; then
        passed=$((passed + 1))
      else
        replay_failed "$name: $(basename "$text") in $store"
      fi
    done
  done
  replayed=$((passed - before))
  # An answer, a pair, an event, an event's value, a refusal, the end of a watch.
  replay_spoilt "$program" trace-0101 's/"deleted":[0-9]*/"deleted":999/'
  replay_spoilt "$program" trace-0102 's/"version":1/"version":2/'
  replay_spoilt "$program" trace-0103 's/"type":"PUT"/"type":"DELETE"/'
  replay_spoilt "$program" trace-0104 's/\("type":"PUT","kv":{"key":"[0-9a-f]*","value":"\)/\100/'
  replay_spoilt "$program" trace-0108 's/"error":"compacted"/"error":"future_revision"/'
  replay_spoilt "$program" trace-0106 's/"canceled":true,"compact_revision":[1-9][0-9]*/&0/'
  echo "$name: ${counts% *} traces of ${counts#* } steps, in $(echo "$*" | sed 's/ / and in /g'):" \
    "$replayed replayed, $((passed - before - replayed)) of 6 spoilt ones noticed"
}
