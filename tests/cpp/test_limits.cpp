// Every bound: at it the call works, one past it the call is refused by name and nothing is changed. The cases
// have the names and the order of those of tests/limits.rs; a Txn keeps copies of its bytes, so the 1 GiB of a
// transaction are tested in C.
#include "scene.hpp"

using namespace scene;

static const std::string too_long(65'536, 'k');
static const std::string longest(65'535, 'k');

// A scene that any keys may be put into: what it holds is left out of the comparison.
struct Bound {
  Store store;
  template <class Call>
  void refused(watch_status status, const std::string &words, Call call, const char *text, const char *file,
               int line) {
    const std::string before = numbers();
    const auto result = call();
    if (check::fails(result, status, text, file, line)) {
      const std::string &said = result.error().message();
      check::report(said.find(words) != std::string::npos, said + " against " + words, file, line);
    }
    check::equals(numbers(), before, text, file, line);
  }
  std::string numbers() {
    const watch_store_stats n = check::need(store.stats());
    return std::to_string(n.revision) + "/" + std::to_string(n.compact_revision) + "/" +
           std::to_string(n.key_count) + "/" + std::to_string(n.watch_count) + "/" +
           std::to_string(n.put_total) + "/" + std::to_string(n.delete_total) + "/" +
           std::to_string(n.txn_total);
  }
};
static Bound bound() { return {check::memory()}; }
#define LIMITED(words, call) REFUSED(WATCH_ERR_LIMIT, words, call)

static Txn puts(std::size_t count, bool then = true) {
  Txn txn;
  for (std::size_t i = 0; i < count; ++i) {
    then ? txn.then_put("k" + std::to_string(i), "") : txn.else_put("k" + std::to_string(i), "");
  }
  return txn;
}
static Txn compares(std::size_t count, std::string_view key = "a") {
  Txn txn;
  for (std::size_t i = 0; i < count; ++i) txn.when_version(key, WATCH_EQUAL, 0);
  return txn;
}

TEST(a_key_has_1_to_65535_bytes) {  // etcd 14.1, 14.11
  Bound s = bound();
  CHECK_OK(s.store.put("k", "short"));
  CHECK_OK(s.store.put(longest, "long"));
  const std::string words = "the key has 65536 bytes";
  LIMITED(words, s.store.put(too_long, ""));
  LIMITED(words, s.store.get(too_long));
  LIMITED(words, s.store.erase(KeyRange::one(too_long)));
  LIMITED(words, s.store.commit(Txn().then_put("x", "").then_put(too_long, "")));
  LIMITED(words, s.store.commit(compares(1, too_long)));
  CHECK_EQ(check::need(s.store.get(longest))->kv()->key().size(), longest.size());
  CHECK_OK(s.store.commit(compares(1, longest)));
  CHECK_EQ(check::need(s.store.erase(KeyRange::one(longest))), 1);
}

TEST(a_range_end_has_up_to_65535_bytes) {  // etcd 2.2, 14.11
  Bound s = bound();
  CHECK_OK(s.store.put("a", "1"));
  const KeyRange over = KeyRange::between("a", too_long), range = KeyRange::between("a", longest);
  LIMITED("the range_end has 65536 bytes", s.store.range(over));
  LIMITED("the range_end has 65536 bytes", s.store.erase(over));
  CHECK_EQ(check::need(s.store.range(range)).count(), 1);
  CHECK_EQ(check::need(s.store.erase(range)), 1);
}

TEST(a_watch_takes_the_longest_key_and_range_end) {  // etcd 2.2, 3.10
  Bound s = bound();
  Stream stream = check::need(s.store.stream());
  LIMITED("the key has 65536 bytes", stream.create(KeyRange::one(too_long)));
  LIMITED("the range_end has 65536 bytes", stream.create(KeyRange::between("a", too_long)));
  check::need(stream.create(KeyRange::one(longest)));
  check::need(stream.create(KeyRange::between("a", longest)));
  CHECK_OK(s.store.put(longest, "x"));                          // is not in the range that it ends
  CHECK_OK(s.store.put(std::string_view(longest).substr(1), "y"));
  CHECK_EQ(check::next(stream).events().size() + check::next(stream).events().size(), 2u);
  CHECK_EQ(told(stream), "");
}

TEST(a_value_has_up_to_64_mib) {  // etcd 5.1, 14.11
  Bound s = bound();
  std::string value((std::size_t{64} << 20) + 1, 'v');
  LIMITED("the value has 67108865 bytes", s.store.put("a", value));
  value.pop_back();
  CHECK_OK(s.store.put("a", value));
  const watch::ResultView found = *check::need(s.store.get("a"));
  CHECK(found.kv()->value() == value);
}

TEST(a_list_of_a_transaction_has_up_to_128_entries) {  // etcd 14.12
  Bound s = bound();
  LIMITED("129 entries in one list", s.store.commit(compares(129)));
  LIMITED("129 entries in one list", s.store.commit(puts(129)));
  LIMITED("129 entries in one list", s.store.commit(puts(129, false)));
  CHECK_OK(s.store.commit(compares(128)));
  CHECK_OK(s.store.commit(puts(128, false)));
  CHECK_EQ(check::need(s.store.commit(puts(128))).results().size(), 128u);
  CHECK_EQ(s.store.revision(), 2);
}

TEST(the_lists_of_nested_transactions_share_the_bound) {  // etcd 14.12
  Bound s = bound();
  LIMITED("127 of 128 are left", s.store.commit(Txn().then_txn(puts(128))));
  CHECK_OK(s.store.commit(Txn().then_txn(puts(127))));
}

TEST(the_bound_on_operations_can_be_moved_and_is_bounded_itself) {  // etcd 14.12
  watch_store_options options;
  WATCH_INIT(&options);
  options.txn_ops_max = 2;
  Bound s{check::need(Store::memory(&options))};
  LIMITED("2 of 2 are left", s.store.commit(puts(3)));
  CHECK_OK(s.store.commit(puts(2)));
  options.txn_ops_max = 65'535;
  s.store = check::need(Store::memory(&options));
  LIMITED("success_count is 65536", s.store.commit(puts(65'536)));
  CHECK_EQ(check::need(s.store.commit(puts(65'535))).revision(), 2);
  CHECK_EQ(check::need(s.store.range(KeyRange::all())).count(), 65'535);
}

TEST(transactions_nest_32_deep) {  // etcd 14.12
  Bound s = bound();
  Txn txn = Txn().then_put("deep", "");
  for (int depth = 1; depth < 32; ++depth) txn = Txn().then_txn(std::move(txn));
  LIMITED("deeper than 32", s.store.commit(Txn().then_txn(txn)));
  CHECK_EQ(check::need(s.store.commit(txn)).revision(), 2);
}

TEST(options_out_of_their_bounds_are_refused_by_name) {  // etcd 14.11, in the opening of a store
  Bound s = bound();
  const auto opened = [](auto watch_store_options::*member, std::uint64_t number) {
    watch_store_options options;
    WATCH_INIT(&options);
    options.*member = static_cast<std::decay_t<decltype(options.*member)>>(number);
    return Store::memory(&options);
  };
  using O = watch_store_options;
  const std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  LIMITED("segment_bytes = 65535", opened(&O::segment_bytes, 65'535));
  LIMITED("segment_bytes = 1073741825", opened(&O::segment_bytes, (std::uint64_t{1} << 30) + 1));
  LIMITED("segment_bytes", opened(&O::segment_bytes, most));
  LIMITED("txn_ops_max = 65536", opened(&O::txn_ops_max, 65'536));
  LIMITED("dispatch_threads = 257", opened(&O::dispatch_threads, 257));
  CHECK_OK(opened(&O::segment_bytes, 65'536));
  CHECK_OK(opened(&O::txn_ops_max, 65'535));
  CHECK_OK(opened(&O::dispatch_threads, 256));
  CHECK_OK(opened(&O::fragment_bytes, most));
  CHECK_OK(opened(&O::sync_interval_ms, most));
  CHECK_OK(opened(&O::progress_interval_ms, most));
}

TEST(up_to_1024_requests_for_progress_wait) {  // etcd 12.5
  Bound s = bound();
  Stream stream = check::need(s.store.stream());
  for (int i = 0; i < 1024; ++i) check::need(stream.request_progress());
  LIMITED("1024 requests for progress", stream.request_progress());
  for (int i = 0; i < 1024; ++i) CHECK(check::next(stream).progress());
  CHECK_OK(stream.request_progress());
  CHECK(check::next(stream).progress());
}

TEST(the_highest_numbers_are_legal_for_a_watch) {  // etcd 3.2, 3.9
  Bound s = bound();
  Stream stream = check::need(s.store.stream());
  watch::WatchOptions last, far;
  last.watch_id = highest;
  last.watch_data = &s;
  far.start_revision = highest;
  far.created_notify = true;
  CHECK_EQ(check::need(stream.create(KeyRange::all(), last)), highest);
  CHECK_EQ(check::need(stream.create(KeyRange::all(), far)), 1);
  CHECK_OK(s.store.put("a", "1"));
  const watch::ResponseView created = check::next(stream);
  CHECK(created.watch_id() == 1 && created.resume_revision() == highest);
  const watch::ResponseView response = check::next(stream);
  CHECK(response.watch_id() == highest && response.watch_data() == &s);
  CHECK_EQ(check::text(response), "+a=1@2");
  CHECK_EQ(told(stream), "");
}

RUN_TESTS()
