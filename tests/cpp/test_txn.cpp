// Txn: compares, branches, nesting, results, refusals. Rules: etcd 14.9 to 14.13.
#include "check.hpp"

using watch::KeyRange;
using watch::ResultView;
using watch::Store;
using watch::Txn;

// Whether the compares of `txn` hold; it has no operations.
static bool holds(Store &store, const Txn &txn) { return check::need(store.commit(txn)).succeeded(); }

TEST(compare_and_swap) {
  Store store = check::memory();
  Txn create;
  create.when_version("k", WATCH_EQUAL, 0).then_put("k", "mine").else_range(KeyRange::one("k"));
  const ResultView first = check::need(store.commit(create));
  CHECK(first.succeeded());
  CHECK_EQ(first.revision(), 2);
  CHECK_EQ(first.op(), static_cast<std::uint32_t>(WATCH_OP_TXN));
  const ResultView second = check::need(store.commit(create));  // the same transaction once more
  CHECK(!second.succeeded());
  CHECK_EQ(second.revision(), 2);
  CHECK_EQ(second.results().size(), 1u);
  CHECK_EQ(check::text(second.results()[0]), "k=mine");
}

TEST(every_compare_target) {
  Store store = check::memory();
  watch::PutOptions lease;
  lease.lease = 9;
  CHECK_OK(store.put("k", "a"));
  CHECK_OK(store.put_with("k", "b", lease));  // create 2, mod 3, version 2, lease 9
  CHECK(holds(store, Txn().when_version("k", WATCH_EQUAL, 2)));
  CHECK(!holds(store, Txn().when_version("k", WATCH_GREATER, 2)));
  CHECK(holds(store, Txn().when_create("k", WATCH_LESS, 3)));
  CHECK(!holds(store, Txn().when_create("k", WATCH_NOT_EQUAL, 2)));
  CHECK(holds(store, Txn().when_mod("k", WATCH_GREATER, 2)));
  CHECK(!holds(store, Txn().when_mod("k", WATCH_LESS, 3)));
  CHECK(holds(store, Txn().when_lease("k", WATCH_EQUAL, 9)));
  CHECK(!holds(store, Txn().when_lease("k", WATCH_EQUAL, 0)));
  CHECK(holds(store, Txn().when_value("k", WATCH_GREATER, "a")));
  CHECK(!holds(store, Txn().when_value("k", WATCH_NOT_EQUAL, "b")));
  CHECK(holds(store, Txn().when_mod("k", WATCH_EQUAL, 3).when_version("k", WATCH_EQUAL, 2)));
  CHECK(!holds(store, Txn().when_mod("k", WATCH_EQUAL, 3).when_version("k", WATCH_EQUAL, 1)));
  CHECK(holds(store, Txn()));
  CHECK_EQ(store.revision(), 3);
}

TEST(an_absent_key_is_zero_and_has_no_value) {
  Store store = check::memory();
  CHECK(holds(store, Txn().when_version("k", WATCH_EQUAL, 0)));
  CHECK(holds(store, Txn().when_create("k", WATCH_EQUAL, 0)));
  CHECK(!holds(store, Txn().when_value("k", WATCH_EQUAL, "")));
  CHECK(!holds(store, Txn().when_value("k", WATCH_NOT_EQUAL, "x")));
}

TEST(compares_over_a_range) {
  Store store = check::memory();
  const KeyRange range = KeyRange::prefix("k");
  CHECK_OK(store.put("k1", "v"));
  CHECK_OK(store.put("k2", "v"));
  CHECK(holds(store, Txn().when_value(range, WATCH_EQUAL, "v")));
  CHECK(holds(store, Txn().when(range, WATCH_COMPARE_VERSION, WATCH_EQUAL, 1)));
  CHECK_OK(store.put("k2", "w"));
  CHECK(!holds(store, Txn().when_value(range, WATCH_EQUAL, "v")));
  CHECK(holds(store, Txn().when(KeyRange::prefix("none"), WATCH_COMPARE_MOD, WATCH_EQUAL, 0)));
}

TEST(one_transaction_is_one_revision) {
  Store store = check::memory();
  CHECK_OK(store.put("old", "v"));
  Txn txn;
  txn.then_put("a", "1").then_put("b", "2").then_delete(KeyRange::one("old"), true);
  watch::RangeOptions count;
  count.count_only = true;
  txn.then_range(KeyRange::all()).then_range(KeyRange::all(), count);
  const ResultView result = check::need(store.commit(txn));
  CHECK_EQ(result.revision(), 3);
  CHECK_EQ(store.revision(), 3);
  std::string ops;
  for (const ResultView r : result.results()) ops += std::to_string(r.op());
  CHECK_EQ(ops, "11322");
  CHECK_EQ(check::text(result.results()[2]), "old=v");
  CHECK_EQ(result.results()[2].count(), 1);
  CHECK_EQ(check::text(result.results()[3]), "a=1 b=2");  // sees what the transaction wrote
  CHECK_EQ(result.results()[4].count(), 2);
  CHECK(result.results()[4].kvs().empty());
}

TEST(put_options_inside) {
  Store store = check::memory();
  CHECK_OK(store.put("k", "v"));
  watch::PutOptions prev;
  prev.prev_kv = true;
  CHECK_EQ(check::text(check::need(store.commit(Txn().then_put("k", "w", prev))).results()[0]), "k=v");
}

TEST(the_else_branch) {
  Store store = check::memory();
  CHECK_OK(store.put("gone", "v"));
  Txn txn;
  txn.when_version("absent", WATCH_GREATER, 0).then_put("then", "1");
  txn.else_put("else", "2").else_delete(KeyRange::one("gone"), true).else_txn(Txn().then_put("deep", "3"));
  const ResultView result = check::need(store.commit(txn));
  CHECK(!result.succeeded());
  CHECK_EQ(check::text(result.results()[1]), "gone=v");
  CHECK_EQ(check::text(check::need(store.range(KeyRange::all()))), "deep=3 else=2");
  CHECK_EQ(store.revision(), 3);
}

TEST(nested_transactions) {
  Store store = check::memory();
  Txn inner;
  inner.when_version("k", WATCH_EQUAL, 0).then_put("inner", "yes").else_put("inner", "no");
  Txn middle;
  middle.then_txn(inner).then_put("middle", "1");
  const Txn outer = Txn().then_put("k", "v").then_txn(middle);
  const ResultView result = check::need(store.commit(outer));
  CHECK_EQ(result.revision(), 2);
  const ResultView nested = result.results()[1];
  CHECK_EQ(nested.op(), static_cast<std::uint32_t>(WATCH_OP_TXN));
  CHECK_EQ(nested.results().size(), 2u);
  CHECK(nested.results()[0].succeeded());  // compares see the state before the outermost one (etcd 14.10)
  CHECK_EQ(check::text(check::need(store.range(KeyRange::all()))), "inner=yes k=v middle=1");
}

TEST(results_outlive_their_parent_and_store) {
  ResultView kept;
  {
    Store store = check::memory();
    CHECK_OK(store.put("k", "v"));
    kept = check::need(store.commit(Txn().then_range(KeyRange::all()))).results()[0];
  }
  CHECK_EQ(check::text(kept), "k=v");
}

TEST(a_key_changes_once) {
  Store store = check::memory();
  CHECK_ERR(store.commit(Txn().then_put("k", "1").then_put("k", "2")), WATCH_ERR_DUPLICATE_KEY);
  CHECK_ERR(store.commit(Txn().then_put("k", "1").then_delete(KeyRange::all())), WATCH_ERR_DUPLICATE_KEY);
  const Txn inner = Txn().then_put("k", "2");
  CHECK_ERR(store.commit(Txn().then_put("k", "1").then_txn(inner)), WATCH_ERR_DUPLICATE_KEY);
  CHECK_EQ(store.revision(), 1);
}

TEST(a_refused_operation_changes_nothing) {
  Store store = check::memory();
  watch::PutOptions keep;
  keep.ignore_value = true;
  watch::RangeOptions future;
  future.revision = 50;
  CHECK_ERR(store.commit(Txn().then_put("a", "1").then_put("k", "", keep)), WATCH_ERR_KEY_NOT_FOUND);
  CHECK_ERR(store.commit(Txn().then_put("a", "1").then_range(KeyRange::all(), future)),
            WATCH_ERR_FUTURE_REVISION);
  CHECK_ERR(store.commit(Txn().then_put("", "1")), WATCH_ERR_EMPTY_KEY);
  CHECK_ERR(store.commit(Txn().when_mod("k", 99, 1)), WATCH_ERR_INVALID_ARGUMENT);
  CHECK_EQ(store.revision(), 1);
}

TEST(a_list_has_a_limit) {
  Store store = check::memory();
  Txn txn;
  for (int i = 0; i < 128; ++i) txn.then_put("k" + std::to_string(i), "v");
  CHECK_OK(store.commit(txn));
  CHECK_ERR(store.commit(txn.then_put("one-too-many", "v")), WATCH_ERR_LIMIT);
  watch_store_options options;
  WATCH_INIT(&options);
  options.txn_ops_max = 1000;
  Store wide = check::need(Store::memory(&options));
  CHECK_OK(wide.commit(txn));
  CHECK_EQ(check::need(wide.stats()).key_count, 129u);
}

TEST(a_transaction_keeps_copies) {
  Store store = check::memory();
  Txn txn;
  {
    const std::string key = "a key longer than any small buffer of a string", value(100, 'v');
    txn.when_value(key, WATCH_NOT_EQUAL, value).else_put(key, value);
  }
  const Txn copy = txn;
  txn = Txn();
  CHECK_OK(store.commit(copy));
  CHECK_EQ(check::need(store.range(KeyRange::all())).kvs()[0].value(), std::string(100, 'v'));
}

RUN_TESTS()
