// KeyRange and Store::range: every way to choose and order keys. Rules: etcd 2.2, 2.5, 14.1 to 14.6.
#include "check.hpp"

using watch::KeyRange;
using watch::RangeOptions;
using watch::Store;

// a/1=3 a/2=1 a/3=2 b=0: revisions 2 to 5, then a/1 again at 6.
static Store filled() {
  Store store = check::memory();
  for (const char *pair : {"a/1=x", "a/2=1", "a/3=2", "b=0", "a/1=3"}) {
    const std::string_view text(pair);
    const std::size_t cut = text.find('=');
    check::need(store.put(text.substr(0, cut), text.substr(cut + 1)));
  }
  return store;
}
static std::string list(Store &store, const KeyRange &range, const RangeOptions &options = {}) {
  return check::text(check::need(store.range(range, options)));
}

TEST(ranges_are_written_as_in_etcd) {
  const std::string nul(1, '\0');
  CHECK_EQ(KeyRange::one("k").range_end, "");
  CHECK_EQ(KeyRange::prefix("a/").range_end, "a0");
  CHECK_EQ(KeyRange::prefix("a\xff").range_end, "b");
  CHECK_EQ(KeyRange::prefix("\xff\xff").range_end, nul);
  CHECK(KeyRange::prefix("").key == nul && KeyRange::prefix("").range_end == nul);
  CHECK(KeyRange::all().key == nul && KeyRange::all().range_end == nul);
  CHECK(KeyRange::from("k").key == "k" && KeyRange::from("k").range_end == nul);
  CHECK(KeyRange::between("a", "b").key == "a" && KeyRange::between("a", "b").range_end == "b");
}

TEST(ranges_choose_keys) {
  Store store = filled();
  CHECK_EQ(list(store, KeyRange::one("b")), "b=0");
  CHECK_EQ(list(store, KeyRange::prefix("a/")), "a/1=3 a/2=1 a/3=2");
  CHECK_EQ(list(store, KeyRange::between("a/2", "b")), "a/2=1 a/3=2");
  CHECK_EQ(list(store, KeyRange::from("a/3")), "a/3=2 b=0");
  CHECK_EQ(list(store, KeyRange::all()), "a/1=3 a/2=1 a/3=2 b=0");
  CHECK_EQ(list(store, KeyRange::between("b", "a")), "");
  CHECK_ERR(store.range(KeyRange::one("")), WATCH_ERR_EMPTY_KEY);
}

TEST(limits_and_counts) {
  Store store = filled();
  const watch::ResultView two = check::need(store.range(KeyRange::all(), 0, 2));
  CHECK_EQ(check::text(two), "a/1=3 a/2=1");
  CHECK(two.more());
  CHECK_EQ(two.count(), 4);
  CHECK_EQ(two.revision(), 6);
  const watch::ResultView four = check::need(store.range(KeyRange::all(), 0, 4));
  CHECK(!four.more());
  RangeOptions count;
  count.count_only = true;
  const watch::ResultView none = check::need(store.range(KeyRange::prefix("a/"), count));
  CHECK_EQ(none.count(), 3);
  CHECK(none.kvs().empty() && none.kv() == nullptr);
}

TEST(older_revisions) {
  Store store = filled();
  CHECK_EQ(check::text(check::need(store.range(KeyRange::all(), 3))), "a/1=x a/2=1");
  CHECK_ERR(store.range(KeyRange::all(), 7), WATCH_ERR_FUTURE_REVISION);
  CHECK_OK(store.compact(4));
  CHECK_ERR(store.range(KeyRange::all(), 3), WATCH_ERR_COMPACTED);
  CHECK_EQ(check::text(check::need(store.range(KeyRange::all(), 4))), "a/1=x a/2=1 a/3=2");
}

TEST(keys_only) {
  Store store = filled();
  RangeOptions options;
  options.keys_only = true;
  CHECK_EQ(list(store, KeyRange::prefix("a/"), options), "a/1= a/2= a/3=");
}

TEST(every_sort) {
  Store store = filled();
  RangeOptions options;
  options.sort_order = WATCH_ORDER_DESCEND;
  CHECK_EQ(list(store, KeyRange::all(), options), "b=0 a/3=2 a/2=1 a/1=3");
  options.sort_order = WATCH_ORDER_ASCEND;
  options.sort_target = WATCH_SORT_VALUE;
  CHECK_EQ(list(store, KeyRange::all(), options), "b=0 a/2=1 a/3=2 a/1=3");
  options.sort_target = WATCH_SORT_MOD;
  CHECK_EQ(list(store, KeyRange::all(), options), "a/2=1 a/3=2 b=0 a/1=3");
  options.sort_target = WATCH_SORT_CREATE;
  options.sort_order = WATCH_ORDER_DESCEND;
  CHECK_EQ(list(store, KeyRange::all(), options), "b=0 a/3=2 a/2=1 a/1=3");
  options.sort_target = WATCH_SORT_VERSION;
  options.limit = 1;
  CHECK_EQ(list(store, KeyRange::all(), options), "a/1=3");
  options.sort_target = 99;
  CHECK_ERR(store.range(KeyRange::all(), options), WATCH_ERR_INVALID_ARGUMENT);
}

TEST(revision_bounds_are_inclusive) {
  Store store = filled();
  RangeOptions mod, create;
  mod.min_mod_revision = 4;
  mod.max_mod_revision = 5;
  CHECK_EQ(list(store, KeyRange::all(), mod), "a/3=2 b=0");
  create.min_create_revision = 2;
  create.max_create_revision = 3;
  const watch::ResultView result = check::need(store.range(KeyRange::all(), create));
  CHECK_EQ(check::text(result), "a/1=3 a/2=1");
  CHECK_EQ(result.count(), 4);  // of the range, without the bounds
}

RUN_TESTS()
