// scene.hpp - a store with a past and two watches. Around every call that is refused its state is held
// against itself, and at the end both watches must go on as if nothing had been.
#ifndef SCENE_HPP
#define SCENE_HPP

#include <array>
#include <limits>

#include "check.hpp"

namespace scene {

using watch::KeyRange;
using watch::Result;
using watch::Store;
using watch::Stream;
using watch::Txn;

// The compaction of a scene, its newest revision, and the id of the watch on the stream of a case.
constexpr std::int64_t compacted = 4, current = 7, live = 7;
constexpr std::int64_t lowest = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t highest = std::numeric_limits<std::int64_t>::max();
constexpr std::array<std::int64_t, 2> negative = {-1, lowest}, future = {current + 1, highest};

inline std::string pair(const watch::KeyValue &kv) {
  std::string out(kv.key());
  out += "=", out += kv.value();
  for (const std::int64_t n : {kv.create_revision, kv.mod_revision, kv.version, kv.lease}) {
    out += "/" + std::to_string(n);
  }
  return out + " ";
}

// Everything a caller can see of a store.
inline std::string state(Store &store) {
  const watch_store_stats stats = check::need(store.stats());
  std::string out = std::to_string(store.revision()) + " " + std::to_string(store.compact_revision());
  for (const std::uint64_t n :
       {stats.watch_count, stats.stream_count, stats.key_count, stats.put_total, stats.delete_total}) {
    out += " " + std::to_string(n);
  }
  const watch::ResultView all = check::need(store.range(KeyRange::all()));
  for (const watch::KeyValue &kv : all.kvs()) out += " " + pair(kv);
  return out;
}

// What a stream tells up to now, as "8+a=4 9-b ".
inline std::string told(Stream &stream, std::size_t *responses = nullptr) {
  std::string out;
  std::size_t count = 0;
  check::need(stream.request_progress());
  for (;; ++count) {
    const watch::ResponseView response = check::next(stream);
    if (response.watch_id() == WATCH_ID_NONE) break;
    for (const watch::Event &e : response.events()) {
      out += std::to_string(e.mod_revision()) + (e.is_put() ? "+" : "-");
      out += e.key();
      if (e.is_put()) out += "=", out += e.value();
      out += " ";
    }
  }
  if (responses != nullptr) *responses = count;
  return out;
}

struct Scene {
  Store store = check::memory();
  Stream stream, witness;

  Scene() {
    watch::PutOptions leased;
    leased.lease = 9;
    check::need(store.put("a", "1"));
    check::need(store.put("b", "2"));
    check::need(store.put_with("a", "3", leased));
    check::need(store.put("gone", "x"));
    check::need(store.erase(KeyRange::one("gone")));
    CHECK_EQ(check::need(store.put("c", "")), current);
    check::need(store.compact(compacted));
    stream = check::need(store.stream());
    witness = check::need(store.stream());
    watch::WatchOptions chosen;
    chosen.watch_id = live;
    check::need(stream.create(KeyRange::all(), chosen));
    check::need(witness.create(KeyRange::all(), chosen));
  }
  // The next put comes to both watches and is all that comes.
  ~Scene() {
    const std::string line = std::to_string(check::need(store.put("z", "end"))) + "+z=end ";
    for (Stream *one : {&stream, &witness}) {
      std::size_t responses = 0;
      CHECK_EQ(told(*one, &responses), line);
      CHECK_EQ(responses, 1u);
    }
  }

  template <class Call>
  void refused(watch_status status, const std::string &words, Call call, const char *text, const char *file,
               int line) {
    const std::string before = state(store);
    const auto result = call();
    if (check::fails(result, status, text, file, line)) {
      const std::string &said = result.error().message();
      check::report(said.find(words) != std::string::npos && said.find('\n') == std::string::npos,
                    std::string(text) + ": " + said + " against " + words, file, line);
    }
    check::equals(state(store), before, text, file, line);
  }
  template <class Call>
  auto unchanged(Call call, const char *text, const char *file, int line) {
    const std::string before = state(store);
    auto answer = check::need(call());
    check::equals(state(store), before, text, file, line);
    return answer;
  }
};

}  // namespace scene

// The call fails with this status and a line that has these words, and changes nothing.
#define REFUSED(status, words, call) \
  s.refused((status), (words), [&] { return (call); }, #call, __FILE__, __LINE__)
// The call is accepted and changes nothing all the same.
#define UNCHANGED(call) s.unchanged([&] { return (call); }, #call, __FILE__, __LINE__)

#endif  // SCENE_HPP
