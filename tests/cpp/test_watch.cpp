// What a watch delivers: history, present, future, filters, previous values, fragments, progress, compaction.
#include "check.hpp"

using watch::KeyRange;
using watch::ResponseView;
using watch::Store;
using watch::Stream;
using watch::WatchOptions;

static WatchOptions from(std::int64_t start_revision) {
  WatchOptions options;
  options.start_revision = start_revision;
  return options;
}
// Events of one watch up to and including `last`, which must be the revision of an event; joined by spaces.
static std::string until(Stream &stream, std::int64_t last) {
  std::string out;
  for (std::int64_t resume = 0; resume <= last;) {
    const ResponseView response = check::next(stream);
    if (response.canceled()) return out + " canceled";
    if (!response.events().empty()) out += (out.empty() ? "" : " ") + check::text(response);
    if (!response.fragment()) resume = response.resume_revision();
  }
  return out;
}

// Etcd 3.3: history from the start revision on, inclusive, then the present.
TEST(history_then_present) {
  Store store = check::memory();
  for (const char *value : {"1", "2", "3"}) CHECK_OK(store.put("k", value));
  Stream stream = check::need(store.stream());
  check::need(stream.create(KeyRange::all(), from(3)));
  CHECK_OK(store.put("k", "4"));
  CHECK_EQ(until(stream, 5), "+k=2@3 +k=3@4 +k=4@5");
}

TEST(from_now_on) {  // etcd 3.1
  Store store = check::memory();
  CHECK_OK(store.put("k", "old"));
  Stream stream = check::need(store.stream());
  check::need(stream.create(KeyRange::all()));
  CHECK_OK(store.put("k", "new"));
  CHECK_EQ(until(stream, 3), "+k=new@3");
}

TEST(a_future_revision_waits) {  // etcd 3.2
  Store store = check::memory();
  Stream stream = check::need(store.stream());
  check::need(stream.create(KeyRange::all(), from(4)));
  for (const char *value : {"1", "2", "3", "4"}) CHECK_OK(store.put("k", value));
  CHECK_EQ(until(stream, 5), "+k=3@4 +k=4@5");
}

TEST(keys_ranges_and_prefixes) {
  Store store = check::memory();
  for (const char *key : {"a", "a/1", "a/2", "b"}) CHECK_OK(store.put(key, "v"));
  CHECK_OK(store.put("end", ""));
  const struct {
    KeyRange range;
    const char *events;
  } rows[] = {
      {KeyRange::one("a"), "+a=v@2"},
      {KeyRange::prefix("a/"), "+a/1=v@3 +a/2=v@4"},
      {KeyRange::between("a/2", "c"), "+a/2=v@4 +b=v@5"},
      {KeyRange::from("b"), "+b=v@5 +end=@6"},
      {KeyRange::all(), "+a=v@2 +a/1=v@3 +a/2=v@4 +b=v@5 +end=@6"},
  };
  for (const auto &row : rows) {
    Stream stream = check::need(store.stream());
    check::need(stream.create(row.range, from(1)));
    std::string events;
    CHECK_OK(stream.request_progress());
    for (;;) {
      const ResponseView response = check::next(stream);
      if (response.progress()) break;
      events += (events.empty() ? "" : " ") + check::text(response);
    }
    CHECK_EQ(events, row.events);
  }
}

TEST(a_transaction_arrives_whole) {
  Store store = check::memory();
  Stream stream = check::need(store.stream());
  check::need(stream.create(KeyRange::all()));
  CHECK_OK(store.put("b", "0"));
  CHECK_OK(store.commit(watch::Txn().then_put("c", "1").then_delete(KeyRange::one("b")).then_put("a", "2")));
  CHECK_EQ(until(stream, 3), "+b=0@2 +c=1@3 -b@3 +a=2@3");
}

TEST(deletes_bring_key_and_revision_only) {  // etcd 5.2
  Store store = check::memory();
  Stream stream = check::need(store.stream());
  check::need(stream.create(KeyRange::all()));
  CHECK_OK(store.put("k", "v"));
  CHECK(check::next(stream).events()[0].is_create());
  CHECK_OK(store.put("k", "w"));
  CHECK(!check::next(stream).events()[0].is_create());
  CHECK_OK(store.erase(KeyRange::one("k")));
  const ResponseView response = check::next(stream);
  const watch::Event &e = response.events()[0];
  CHECK(e.is_delete() && !e.is_put() && !e.is_create());
  CHECK_EQ(e.key(), "k");
  CHECK_EQ(e.value(), "");
  CHECK(e.kv().create_revision == 0 && e.kv().version == 0 && e.kv().lease == 0);
  CHECK_EQ(e.mod_revision(), 4);
  CHECK(e.prev_kv() == nullptr);
}

TEST(filters) {  // etcd 6.1
  Store store = check::memory();
  Stream puts = check::need(store.stream()), deletes = check::need(store.stream());
  WatchOptions options = from(1);
  options.no_delete = true;
  check::need(puts.create(KeyRange::all(), options));
  options.no_delete = false;
  options.no_put = true;
  check::need(deletes.create(KeyRange::all(), options));
  CHECK_OK(store.put("k", "1"));
  CHECK_OK(store.erase(KeyRange::all()));
  CHECK_OK(store.put("k", "2"));
  CHECK_EQ(until(puts, 4), "+k=1@2 +k=2@4");
  CHECK_EQ(until(deletes, 3), "-k@3");
}

TEST(previous_values) {  // etcd 7.2, 7.4
  Store store = check::memory();
  Stream stream = check::need(store.stream());
  WatchOptions options = from(1);
  options.prev_kv = true;
  check::need(stream.create(KeyRange::all(), options));
  CHECK_OK(store.put("k", "1"));
  CHECK_OK(store.put("k", "2"));
  CHECK_OK(store.erase(KeyRange::all()));
  CHECK_OK(store.put("k", "3"));
  std::string prev;
  for (std::int64_t resume = 0; resume < 6;) {
    const ResponseView response = check::next(stream);
    for (const watch::Event &e : response.events()) {
      prev += e.prev_kv() == nullptr ? "none" : std::string(e.prev_kv()->value());
      prev += ' ';
      if (e.prev_kv() != nullptr) CHECK_EQ(e.prev_kv()->mod_revision, e.mod_revision() - 1);
    }
    resume = response.resume_revision();
  }
  CHECK_EQ(prev, "none 1 2 none ");
}

TEST(created_comes_first) {
  Store store = check::memory();
  CHECK_OK(store.put("k", "v"));
  Stream stream = check::need(store.stream());
  WatchOptions options = from(1);
  options.created_notify = true;
  const std::int64_t id = check::need(stream.create(KeyRange::all(), options));
  const ResponseView created = check::next(stream);
  CHECK(created.created() && created.events().empty() && created.watch_id() == id);
  CHECK_EQ(until(stream, 2), "+k=v@2");
}

// Etcd 13: parts of one response, all but the last marked; a receiver joins them.
TEST(fragments) {
  watch_store_options store_options;
  WATCH_INIT(&store_options);
  store_options.fragment_bytes = 1000;
  Store store = check::need(Store::memory(&store_options));
  watch::Txn txn;
  for (int i = 0; i < 20; ++i) txn.then_put("key" + std::to_string(10 + i), std::string(300, 'v'));
  CHECK_OK(store.commit(txn));
  Stream stream = check::need(store.stream());
  WatchOptions options = from(1);
  options.fragment = true;
  check::need(stream.create(KeyRange::all(), options));
  std::size_t events = 0, parts = 0;
  for (bool more = true; more;) {
    const ResponseView response = check::next(stream);
    for (const watch::Event &e : response.events()) {
      CHECK_EQ(e.key(), "key" + std::to_string(10 + events));
      ++events;
    }
    ++parts;
    more = response.fragment();
    CHECK_EQ(response.resume_revision(), more ? 0 : 3);
  }
  CHECK_EQ(events, 20u);
  CHECK(parts > 1);
}

TEST(progress_on_request) {  // etcd 12.1; design: answered once, when everything has been delivered
  Store store = check::memory();
  Stream stream = check::need(store.stream());
  check::need(stream.create(KeyRange::one("watched"), from(1)));
  CHECK_OK(store.put("watched", "1"));
  CHECK_OK(store.put("other", "2"));
  CHECK_OK(stream.request_progress());
  CHECK_EQ(check::text(check::next(stream)), "+watched=1@2");
  const ResponseView progress = check::next(stream);
  CHECK(progress.progress() && progress.events().empty());
  CHECK_EQ(progress.watch_id(), WATCH_ID_NONE);
  CHECK_EQ(progress.revision(), 3);
  CHECK(!check::need(stream.next(0)).has_value());
}

TEST(periodic_progress) {  // etcd 12.2
  watch_store_options store_options;
  WATCH_INIT(&store_options);
  store_options.progress_interval_ms = 100;
  Store store = check::need(Store::memory(&store_options));
  Stream stream = check::need(store.stream());
  WatchOptions options;
  options.progress_notify = true;
  const std::int64_t id = check::need(stream.create(KeyRange::all(), options));
  const ResponseView progress = check::next(stream);
  CHECK(progress.progress() && progress.watch_id() == id);
  CHECK_EQ(progress.revision(), 1);
  CHECK_EQ(progress.resume_revision(), 2);
}

TEST(a_start_below_the_compaction_is_canceled) {  // etcd 3.5, 3.6
  Store store = check::memory();
  for (int i = 0; i < 5; ++i) CHECK_OK(store.put("k", std::to_string(i)));
  CHECK_OK(store.compact(4));
  Stream stream = check::need(store.stream());
  const std::int64_t id = check::need(stream.create(KeyRange::all(), from(3)));
  const ResponseView last = check::next(stream);
  CHECK(last.canceled() && last.watch_id() == id && last.events().empty());
  CHECK_EQ(last.cancel_status(), WATCH_ERR_COMPACTED);
  CHECK_EQ(last.compact_revision(), 4);
  CHECK_EQ(last.revision(), 6);
  const auto error = last.cancel_error();
  if (CHECK(error.has_value())) {
    CHECK_EQ(error->status(), WATCH_ERR_COMPACTED);
    CHECK_EQ(error->compact_revision(), 4);
    CHECK(!error->message().empty());
  }
  // The compaction itself is a legal start.
  check::need(stream.create(KeyRange::all(), from(4)));
  CHECK_EQ(until(stream, 6), "+k=2@4 +k=3@5 +k=4@6");
}

TEST(a_watch_that_keeps_up_does_not_notice_a_compaction) {  // etcd 10.5
  Store store = check::memory();
  Stream stream = check::need(store.stream());
  check::need(stream.create(KeyRange::all()));
  CHECK_OK(store.put("k", "1"));
  CHECK_EQ(until(stream, 2), "+k=1@2");
  CHECK_OK(store.compact(2));
  CHECK_OK(store.put("k", "2"));
  CHECK_EQ(until(stream, 3), "+k=2@3");
}

TEST(resume_is_exact) {
  Store store = check::memory();
  for (int i = 0; i < 10; ++i) CHECK_OK(store.put("k", std::to_string(i)));
  std::string all;
  std::int64_t resume = 1;
  watch::StreamOptions three;
  three.batch_revisions = 3;
  while (resume <= store.revision()) {  // one response per stream, then a new one
    Stream stream = check::need(store.stream(three));
    check::need(stream.create(KeyRange::all(), from(resume)));
    const ResponseView response = check::next(stream);
    all += check::text(response) + ";";
    resume = response.resume_revision();
  }
  CHECK_EQ(all, "+k=0@2 +k=1@3 +k=2@4;+k=3@5 +k=4@6 +k=5@7;+k=6@8 +k=7@9 +k=8@10;+k=9@11;");
}

TEST(refused_creates) {
  Store store = check::memory();
  Stream stream = check::need(store.stream());
  CHECK_ERR(stream.create(KeyRange::between("b", "a")), WATCH_ERR_EMPTY_RANGE);
  CHECK(!stream.create(KeyRange::all(), from(-1)));
  CHECK(!check::need(stream.next(0)).has_value());  // a refusal is never a response
  CHECK_EQ(check::need(store.stats()).watch_count, 0u);
}

RUN_TESTS()
