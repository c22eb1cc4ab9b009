// What callers get wrong is answered with a status and a line that names the thing, and disturbs nothing else.
// The same cases, by the same names and in the same order, are in tests/bad_input.rs, tests/c and
// tests/python; the list goes on in test_bad_state.cpp.
#include "scene.hpp"

using namespace scene;

static watch::RangeOptions at(std::int64_t revision) {
  watch::RangeOptions options;
  options.revision = revision;
  return options;
}
static watch::WatchOptions from(std::int64_t start_revision, std::int64_t watch_id = 0) {
  watch::WatchOptions options;
  options.start_revision = start_revision;
  options.watch_id = watch_id;
  options.created_notify = true;
  return options;
}
// A transaction that begins with a good put.
static Txn good() { return Txn().then_put("x", ""); }

// ---- keys and ranges ----

TEST(an_empty_key_is_refused) {  // etcd 14.1, 14.11
  Scene s;
  const KeyRange empty = KeyRange::between("", "z");
  REFUSED(WATCH_ERR_EMPTY_KEY, "key", s.store.put("", "v"));
  REFUSED(WATCH_ERR_EMPTY_KEY, "key", s.store.put_with("", "v", {}));
  REFUSED(WATCH_ERR_EMPTY_KEY, "key", s.store.get(""));
  REFUSED(WATCH_ERR_EMPTY_KEY, "key", s.store.range(empty));
  REFUSED(WATCH_ERR_EMPTY_KEY, "key", s.store.erase(empty));
  REFUSED(WATCH_ERR_EMPTY_KEY, "key", s.store.erase_with(empty, true));
  REFUSED(WATCH_ERR_EMPTY_KEY, "key", s.store.commit(good().then_put("", "")));
  REFUSED(WATCH_ERR_EMPTY_KEY, "key", s.store.commit(good().then_delete(empty)));
  REFUSED(WATCH_ERR_EMPTY_KEY, "key", s.store.commit(good().then_txn(Txn().then_range(empty))));
  REFUSED(WATCH_ERR_EMPTY_KEY, "key", s.store.commit(Txn().when_version("", WATCH_EQUAL, 0)));
}

TEST(an_empty_watch_range_is_refused) {  // etcd 2.4, 3.10
  Scene s;
  const std::string zero(2, '\0'), above("b\0", 2);
  for (const KeyRange &range : {KeyRange::between("b", "a"), KeyRange::between("b", "b"),
                                KeyRange::between(above, "b"), KeyRange::between(zero, zero)}) {
    REFUSED(WATCH_ERR_EMPTY_RANGE, "range_end", s.stream.create(range, from(0)));
  }
}

TEST(a_reversed_range_reads_and_deletes_nothing) {  // etcd 2.4, 14.1, 1.3
  Scene s;
  for (const KeyRange &range : {KeyRange::between("z", "a"), KeyRange::between("b", "b")}) {
    CHECK_EQ(UNCHANGED(s.store.range(range)).count(), 0);
    CHECK_EQ(UNCHANGED(s.store.erase(range)), 0);
    const watch::ResultView erased = UNCHANGED(s.store.erase_with(range, true));
    CHECK(erased.count() == 0 && erased.kvs().empty() && erased.revision() == current);
    UNCHANGED(s.store.commit(Txn().then_delete(range)));
  }
}

// ---- revisions ----

TEST(a_negative_revision_reads_now_but_not_in_a_transaction) {  // etcd 14.2
  Scene s;
  for (const std::int64_t revision : negative) {
    const auto found = UNCHANGED(s.store.get("a", revision));
    CHECK_EQ(check::text(*found), "a=3");
    CHECK_EQ(found->revision(), current);
    REFUSED(WATCH_ERR_COMPACTED, std::to_string(revision),
            s.store.commit(good().then_range(KeyRange::one("a"), at(revision))));
  }
}

static void refused_reads(Scene &s, watch_status status, std::int64_t revision) {
  const std::string words = "revision " + std::to_string(revision) + " ";
  REFUSED(status, words, s.store.get("a", revision));
  REFUSED(status, words, s.store.range(KeyRange::between("x", "a"), revision));
  REFUSED(status, words, s.store.commit(good().then_range(KeyRange::one("a"), at(revision))));
}

TEST(a_future_revision_cannot_be_read) {  // etcd 14.2, 14.11
  Scene s;
  for (const std::int64_t revision : future) {
    refused_reads(s, WATCH_ERR_FUTURE_REVISION, revision);
    const auto refused = s.store.get("a", revision);
    CHECK(refused.error().current_revision() == current && refused.error().compact_revision() == 0);
  }
}

TEST(a_compacted_revision_cannot_be_read) {  // etcd 14.2, 10.2, 10.4
  Scene s;
  for (const std::int64_t revision : {std::int64_t{1}, compacted - 1}) {
    refused_reads(s, WATCH_ERR_COMPACTED, revision);
    const auto refused = s.store.get("a", revision);
    CHECK(refused.error().current_revision() == 0 && refused.error().compact_revision() == compacted);
  }
  CHECK_EQ(check::text(*UNCHANGED(s.store.get("a", compacted))), "a=3");
}

TEST(a_negative_start_is_refused) {  // etcd 3.4, 3.10
  Scene s;
  for (const std::int64_t start : negative) {
    REFUSED(WATCH_ERR_INVALID_ARGUMENT, "start_revision " + std::to_string(start),
            s.stream.create(KeyRange::all(), from(start)));
  }
}

TEST(a_start_in_the_far_future_waits) {  // etcd 3.2, 19.2 #9775: as far ahead as numbers go
  Scene s;
  for (const std::int64_t start : {current + 2, highest - 1, highest}) {
    watch::WatchOptions options;
    options.start_revision = start;
    const std::int64_t id = check::need(s.stream.create(KeyRange::all(), options));
    CHECK_EQ(told(s.stream), "");
    CHECK_OK(s.stream.cancel(id));
    CHECK_EQ(check::next(s.stream).resume_revision(), start);
  }
}

// ---- watch ids ----

TEST(a_negative_watch_id_is_refused) {  // etcd 3.4, 3.10
  Scene s;
  for (const std::int64_t id : negative) {
    REFUSED(WATCH_ERR_INVALID_ARGUMENT, "watch_id " + std::to_string(id),
            s.stream.create(KeyRange::all(), from(0, id)));
  }
}

TEST(a_watch_id_in_use_is_refused) {  // etcd 3.9, 3.10, 19.3 #14296
  Scene s;
  REFUSED(WATCH_ERR_DUPLICATE_WATCH_ID, "watch id 7", s.stream.create(KeyRange::one("q"), from(1, live)));
}

TEST(a_watch_id_that_is_not_live_cannot_be_canceled) {  // etcd 9.1
  Scene s;
  const std::int64_t ended = check::need(s.stream.create(KeyRange::all()));
  CHECK_OK(s.stream.cancel(ended));
  CHECK_EQ(told(s.stream), "");
  for (const std::int64_t id : {ended, live + 1, std::int64_t{0}, std::int64_t{-1}, lowest, highest}) {
    REFUSED(WATCH_ERR_WATCH_NOT_FOUND, "watch id " + std::to_string(id) + " ", s.stream.cancel(id));
  }
}

// ---- compaction and sync ----

TEST(compaction_of_the_past_is_refused) {  // etcd 10.1
  Scene s;
  for (const std::int64_t past : {compacted, compacted - 1, std::int64_t{0}, std::int64_t{-1}, lowest}) {
    REFUSED(WATCH_ERR_COMPACTED, "revision " + std::to_string(past) + " ", s.store.compact(past, true));
    const auto refused = s.store.compact(past);
    CHECK_EQ(refused.error().compact_revision(), compacted);
  }
}

TEST(compaction_of_the_present_is_accepted_once) {  // etcd 10.1, 10.5
  Scene s;
  CHECK_OK(s.store.compact(current));
  CHECK(s.store.compact_revision() == current && s.store.revision() == current);
  CHECK_EQ(check::text(check::need(s.store.range(KeyRange::all()))), "a=3 b=2 c=");
  REFUSED(WATCH_ERR_COMPACTED, "7", s.store.compact(current));
}

TEST(compaction_of_the_future_is_refused) {  // etcd 10.1
  Scene s;
  for (const std::int64_t revision : future) {
    REFUSED(WATCH_ERR_FUTURE_REVISION, std::to_string(revision), s.store.compact(revision, true));
    const auto refused = s.store.compact(revision);
    CHECK_EQ(refused.error().current_revision(), current);
  }
}

TEST(a_revision_that_was_never_written_cannot_be_synced) {  // etcd 8.1: what was not written
  Scene s;
  for (const std::int64_t revision : negative) {
    REFUSED(WATCH_ERR_INVALID_ARGUMENT, "revision " + std::to_string(revision), s.store.sync(revision));
  }
  for (const std::int64_t revision : future) {
    REFUSED(WATCH_ERR_FUTURE_REVISION, std::to_string(revision), s.store.sync(revision));
  }
  UNCHANGED(s.store.sync());
}

static std::size_t found(Scene &s, const watch::RangeOptions &options) {
  const watch::ResultView result = UNCHANGED(s.store.range(KeyRange::between("a", "z"), options));
  CHECK(result.count() == 3 && !result.more());
  return result.kvs().size();
}

TEST(limits_and_bounds_of_a_range_may_be_any_number) {  // etcd 14.4, 14.5
  Scene s;
  using O = watch::RangeOptions;
  const auto with = [&s](std::int64_t O::*member, std::int64_t number) {
    O options;
    options.*member = number;
    return found(s, options);
  };
  for (const std::int64_t low : negative) {
    CHECK_EQ(with(&O::limit, low), 3u);  // no limit
    CHECK_EQ(with(&O::min_mod_revision, low), 3u);
    CHECK_EQ(with(&O::min_create_revision, low), 3u);
    CHECK_EQ(with(&O::max_mod_revision, low), 0u);
    CHECK_EQ(with(&O::max_create_revision, low), 0u);
  }
  CHECK_EQ(with(&O::limit, highest), 3u);
  CHECK_EQ(with(&O::max_mod_revision, highest), 3u);
  CHECK_EQ(with(&O::max_create_revision, highest), 3u);
  CHECK_EQ(with(&O::min_mod_revision, highest), 0u);
  CHECK_EQ(with(&O::min_create_revision, highest), 0u);
}

// ---- transactions and puts ----

TEST(a_key_that_is_put_twice_is_refused) {  // etcd 14.12, 14.11
  Scene s;
  const Txn once = Txn().then_put("x\n", "1");
  const Txn twice = Txn(once).then_put("y", "").then_put("x\n", "2");
  REFUSED(WATCH_ERR_DUPLICATE_KEY, "\"x\\n\"", s.store.commit(twice));
  REFUSED(WATCH_ERR_DUPLICATE_KEY, "\"x\\n\"", s.store.commit(Txn(once).then_txn(once)));
}

TEST(a_put_under_a_delete_is_refused) {  // etcd 14.12, 14.11
  Scene s;
  for (const KeyRange &range :
       {KeyRange::one("b"), KeyRange::between("a", "c"), KeyRange::from("a"), KeyRange::all()}) {
    REFUSED(WATCH_ERR_DUPLICATE_KEY, "\"b\"", s.store.commit(Txn().then_put("b", "1").then_delete(range)));
    REFUSED(WATCH_ERR_DUPLICATE_KEY, "\"b\"",
            s.store.commit(Txn().then_delete(range).then_txn(Txn().then_put("b", "1"))));
  }
}

TEST(overlapping_deletes_are_accepted) {  // etcd 14.12, 1.11
  Scene s;
  Txn txn;
  txn.then_delete(KeyRange::between("a", "c")).then_delete(KeyRange::from("b"));
  txn.then_delete(KeyRange::one("a"));
  CHECK_EQ(check::need(s.store.commit(txn)).revision(), current + 1);
  CHECK_EQ(check::need(s.store.stats()).delete_total, 4u);
  CHECK_EQ(check::need(s.store.range(KeyRange::all())).count(), 0);
  CHECK_EQ(told(s.stream), "8-a 8-b 8-c ");
  CHECK_EQ(told(s.witness), "8-a 8-b 8-c ");
}

static watch::PutOptions ignoring(bool value, bool lease) {
  watch::PutOptions options;
  options.ignore_value = value;
  options.ignore_lease = lease;
  return options;
}

TEST(values_and_leases_are_not_given_beside_what_ignores_them) {  // etcd 14.7, 14.11
  Scene s;
  watch::PutOptions lease = ignoring(false, true);
  lease.lease = 2;
  REFUSED(WATCH_ERR_INVALID_ARGUMENT, "ignore_value", s.store.put_with("a", "2", ignoring(true, false)));
  REFUSED(WATCH_ERR_INVALID_ARGUMENT, "ignore_lease", s.store.put_with("a", "2", lease));
  REFUSED(WATCH_ERR_INVALID_ARGUMENT, "ignore_value",
          s.store.commit(good().then_put("a", "2", ignoring(true, false))));
}

TEST(an_absent_key_has_nothing_to_keep) {  // etcd 14.7, 14.11
  Scene s;
  const watch::PutOptions value = ignoring(true, false), lease = ignoring(false, true);
  REFUSED(WATCH_ERR_KEY_NOT_FOUND, "\"who\\n\"", s.store.put_with("who\n", "", value));
  REFUSED(WATCH_ERR_KEY_NOT_FOUND, "\"gone\"", s.store.put_with("gone", "", lease));
  REFUSED(WATCH_ERR_DUPLICATE_KEY, "\"who\\n\"",
          s.store.commit(Txn().then_put("who\n", "").then_put("who\n", "", value)));
  REFUSED(WATCH_ERR_KEY_NOT_FOUND, "\"gone\"", s.store.commit(good().then_put("gone", "", lease)));
}

TEST(a_long_key_in_an_error_is_cut) {  // etcd 14.12
  Scene s;
  const std::string key(60'000, '\xff');
  const Txn twice = Txn().then_put(key, "").then_put(key, "");
  REFUSED(WATCH_ERR_DUPLICATE_KEY, "\\xff", s.store.commit(twice));
  REFUSED(WATCH_ERR_KEY_NOT_FOUND, "\\xff", s.store.put_with(key, "", ignoring(true, false)));
  const auto first = s.store.commit(twice);
  const auto second = s.store.put_with(key, "", ignoring(true, false));
  CHECK(first.error().message().size() < 500 && second.error().message().size() < 500);
}

RUN_TESTS()
