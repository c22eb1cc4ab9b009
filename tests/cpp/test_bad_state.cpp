// The rest of the list of test_bad_input.cpp: calls that do not fit what a stream, a store or a folder is. At
// the end what only C++ can get wrong: moved-from handles, and errors with and without exceptions.
#include <cerrno>
#include <fstream>
#include <thread>

#include "scene.hpp"

using namespace scene;

static watch_store_options folder_options(std::uint32_t flags) {
  watch_store_options options;
  WATCH_INIT(&options);
  options.flags = flags;
  options.durability = WATCH_DURABILITY_NONE;
  options.segment_bytes = 64 << 10;
  return options;
}
static Result<Store> open_at(const std::string &path, std::uint32_t flags) {
  const watch_store_options options = folder_options(flags);
  return Store::open(path.c_str(), &options);
}
static watch::WatchOptions history() {
  watch::WatchOptions options;
  options.start_revision = 1;
  return options;
}

// ---- streams ----

TEST(a_batch_of_nothing_is_refused) {  // etcd 8.16: a batch is one response or more
  Scene s;
  watch::ResponseView buffer[1];
  REFUSED(WATCH_ERR_INVALID_ARGUMENT, "capacity is 0", s.stream.next_batch(buffer, 0));
}

TEST(a_wait_may_be_as_long_as_numbers_go) {  // etcd 8.1: who waits is woken all the same
  Scene s;
  CHECK_OK(s.store.put("a", "4"));
  CHECK_EQ(check::text(*check::need(s.stream.next(highest))), "+a=4@8");
  CHECK_OK(s.store.put("a", "5"));
  CHECK_EQ(check::text(*check::need(s.stream.next(lowest))), "+a=5@9");
  std::string taken;
  std::thread consumer([&s, &taken] {
    watch::ResponseView buffer[4];
    taken = check::text(check::need(s.stream.next_batch(buffer, 4, highest))[0]);
  });
  CHECK_OK(s.store.put("a", "6"));
  consumer.join();
  CHECK_EQ(taken, "+a=6@10");
  CHECK_EQ(told(s.witness), "8+a=4 9+a=5 10+a=6 ");
}

TEST(a_callback_stream_has_no_consumer_and_no_descriptor) {  // etcd 9.5
  Scene s;
  Stream called = check::need(s.store.stream([](const watch::ResponseView &) { return WATCH_OK; }));
  watch::ResponseView buffer[1];
  REFUSED(WATCH_ERR_INVALID_STATE, "callback", called.next());
  REFUSED(WATCH_ERR_INVALID_STATE, "callback", called.next_batch(buffer, 1, 0));
  CHECK_EQ(called.fd(), -1);
  CHECK_EQ(watch::Error::last(WATCH_ERR_INVALID_STATE).message().find("callback") != std::string::npos, true);
}

TEST(a_second_consumer_is_told_that_the_stream_is_busy) {  // etcd 4.2
  Scene s;
  std::string taken;
  std::thread consumer([&s, &taken] {
    for (;;) {
      const auto response = s.stream.next();
      if (response) {
        taken = check::text(**response);
        return;
      }
    }
  });
  for (;;) {
    const auto refused = s.stream.next(0);
    if (refused) continue;
    CHECK_ERR(refused, WATCH_ERR_BUSY);
    CHECK(refused.error().message().find("stream") != std::string::npos);
    break;
  }
  CHECK_OK(s.store.put("a", "4"));
  consumer.join();
  CHECK_EQ(taken, "+a=4@8");
  CHECK(!check::need(s.stream.next(0)));  // the turn was given back
  CHECK_EQ(told(s.witness), "8+a=4 ");
}

TEST(unknown_filters_flags_and_numbers_are_refused) {  // etcd 6.1, 14.11; filters and flags have names here
  Scene s;
  const KeyRange all = KeyRange::between("a", "z");
  for (const std::uint32_t flag : {1u << 3, 1u << 31, ~0u}) {
    const watch_store_options odd = folder_options(WATCH_OPEN_MEMORY | flag);
    REFUSED(WATCH_ERR_UNSUPPORTED, "watch_store_options.flags", Store::memory(&odd));
  }
  watch_store_options odd = folder_options(0);
  odd.durability = WATCH_DURABILITY_COMMIT + 1;
  REFUSED(WATCH_ERR_INVALID_ARGUMENT, "durability", Store::memory(&odd));
  watch::RangeOptions target, order;
  target.sort_target = WATCH_SORT_VALUE + 1;
  order.sort_order = ~0u;
  REFUSED(WATCH_ERR_INVALID_ARGUMENT, "sort_target", s.store.range(all, target));
  REFUSED(WATCH_ERR_INVALID_ARGUMENT, "sort_order", s.store.range(all, order));
  REFUSED(WATCH_ERR_INVALID_ARGUMENT, "sort_order",
          s.store.commit(Txn().then_put("x", "").then_range(all, order)));
  REFUSED(WATCH_ERR_INVALID_ARGUMENT, "watch_compare.target",
          s.store.commit(Txn().when(all, WATCH_COMPARE_LEASE + 1, WATCH_EQUAL, 0)));
  REFUSED(WATCH_ERR_INVALID_ARGUMENT, "watch_compare.result",
          s.store.commit(Txn().when_mod("a", WATCH_NOT_EQUAL + 1, 0)));
}

// ---- closed handles ----

static void refused_by_stream(Scene &s, Stream &closed, watch_status status, const char *words) {
  watch::ResponseView buffer[1];
  REFUSED(status, words, closed.create(KeyRange::all()));
  REFUSED(status, words, closed.cancel(1));
  REFUSED(status, words, closed.request_progress());
  REFUSED(status, words, closed.next());
  REFUSED(status, words, closed.next_batch(buffer, 1));
}

TEST(a_closed_stream_answers_closed) {  // etcd 9.5, 9.1
  Scene s;
  Stream ended = check::need(s.store.stream());
  check::need(ended.create(KeyRange::all(), history()));
  ended.shutdown();
  ended.shutdown();
  refused_by_stream(s, ended, WATCH_ERR_CLOSED, "closed");
  // A closed object has no handle any more.
  ended.close();
  ended.close();
  refused_by_stream(s, ended, WATCH_ERR_INVALID_ARGUMENT, "the stream is NULL");
  CHECK_EQ(ended.fd(), -1);
}

static void refused_by_store(Scene &s, Store &closed, const char *words) {
  const watch_status status = WATCH_ERR_INVALID_ARGUMENT;
  REFUSED(status, words, closed.put("a", "9"));
  REFUSED(status, words, closed.put_with("a", "9", {}));
  REFUSED(status, words, closed.get("a"));
  REFUSED(status, words, closed.range(KeyRange::all()));
  REFUSED(status, words, closed.erase(KeyRange::all()));
  REFUSED(status, words, closed.erase_with(KeyRange::all(), true));
  REFUSED(status, words, closed.commit(Txn()));
  REFUSED(status, words, closed.compact(current));
  REFUSED(status, words, closed.sync());
  REFUSED(status, words, closed.stats());
  REFUSED(status, words, closed.stream());
  REFUSED(status, words, closed.stream([](const watch::ResponseView &) { return WATCH_OK; }));
  CHECK(closed.revision() == 0 && closed.compact_revision() == 0 && closed.durable_revision() == 0);
}

TEST(a_closed_store_answers_closed) {  // etcd 9.8, 11.5
  Scene s;
  Store closed = check::memory();
  Stream ended = check::need(closed.stream());
  check::need(ended.create(KeyRange::all()));
  CHECK_OK(closed.close());
  // A closed object has no handle any more; what others still hold answers CLOSED.
  refused_by_store(s, closed, "the store is NULL");
  refused_by_stream(s, ended, WATCH_ERR_CLOSED, "the store is closed");
}

TEST(closing_twice_does_nothing) {  // etcd 9.5
  Scene s;
  check::TempDir dir;
  Store closed = check::need(open_at(dir / "store", WATCH_OPEN_CREATE));
  CHECK_OK(closed.put("a", "1"));
  CHECK_OK(closed.close());
  CHECK_OK(closed.close());
  Store again = check::need(open_at(dir / "store", 0));
  CHECK_OK(closed.close());
  CHECK_EQ(check::need(again.put("a", "2")), 3);  // a late close is no business of the next one
}

TEST(results_stay_valid_after_the_store_closed) {  // etcd 5.1
  watch::ResultView result;
  watch::Response response;
  {
    check::TempDir dir;
    Store store = check::need(open_at(dir / "store", WATCH_OPEN_CREATE));
    CHECK_OK(store.put("a", "1"));
    Stream stream = check::need(store.stream());
    check::need(stream.create(KeyRange::all(), history()));
    result = *check::need(store.get("a"));
    response = check::next(stream).retain();
    CHECK_OK(store.close());
  }
  CHECK_EQ(check::text(result), "a=1");
  CHECK_EQ(check::text(response), "+a=1@2");
}

// ---- folders ----

TEST(a_path_that_is_no_folder_is_refused) {  // etcd 11.1: only what a store wrote is restored
  Scene s;
  check::TempDir dir;
  const std::string file = dir / "file", below = file + "/below";
  std::ofstream(file) << "mine";
  REFUSED(WATCH_ERR_IO, file, open_at(file, WATCH_OPEN_CREATE));
  REFUSED(WATCH_ERR_IO, below, open_at(below, WATCH_OPEN_CREATE));
  REFUSED(WATCH_ERR_IO, "path", open_at("", WATCH_OPEN_CREATE));
  REFUSED(WATCH_ERR_INVALID_ARGUMENT, "path is NULL", Store::open(nullptr));
  const auto refused = open_at(below, WATCH_OPEN_CREATE);
  CHECK_EQ(refused.error().os_error(), ENOTDIR);
  std::string text;
  std::ifstream(file) >> text;
  CHECK_EQ(text, "mine");  // what is not ours is left alone
}

TEST(a_store_that_must_exist_is_not_made) {  // etcd 11.1
  Scene s;
  check::TempDir dir;
  const std::string absent = dir / "absent";
  REFUSED(WATCH_ERR_IO, absent, open_at(absent, 0));
  REFUSED(WATCH_ERR_IO, absent, open_at(absent, WATCH_OPEN_READ_ONLY));
  REFUSED(WATCH_ERR_IO, absent, open_at(absent, WATCH_OPEN_READ_ONLY | WATCH_OPEN_CREATE));
  const auto refused = open_at(absent, 0);
  CHECK_EQ(refused.error().os_error(), ENOENT);
  CHECK(!std::filesystem::exists(absent));
}

TEST(a_store_that_is_open_is_locked) {  // etcd 1.13: there is one writer
  Scene s;
  check::TempDir dir;
  Store holder = check::need(open_at(dir / "store", WATCH_OPEN_CREATE));
  CHECK_OK(holder.put("a", "1"));
  REFUSED(WATCH_ERR_LOCKED, dir / "store", open_at(dir / "store", WATCH_OPEN_CREATE));
  CHECK_EQ(check::need(holder.put("a", "2")), 3);
}

TEST(a_read_only_store_refuses_writes) {  // etcd 11.1, 14.11
  Scene s;
  check::TempDir dir;
  CHECK_OK(check::need(open_at(dir / "store", WATCH_OPEN_CREATE)).put("a", "1"));
  Store reader = check::need(open_at(dir / "store", WATCH_OPEN_READ_ONLY));
  Stream stream = check::need(reader.stream());
  check::need(stream.create(KeyRange::all(), history()));
  REFUSED(WATCH_ERR_READ_ONLY, "read-only", reader.put("a", "2"));
  REFUSED(WATCH_ERR_READ_ONLY, "read-only", reader.put_with("a", "2", {}));
  REFUSED(WATCH_ERR_READ_ONLY, "read-only", reader.erase(KeyRange::one("a")));
  REFUSED(WATCH_ERR_READ_ONLY, "read-only", reader.commit(Txn().then_put("a", "2")));
  REFUSED(WATCH_ERR_READ_ONLY, "read-only", reader.compact(2));
  CHECK(reader.revision() == 2 && reader.compact_revision() == -1);
  CHECK_EQ(told(stream), "2+a=1 ");
}

// ---- what only C++ can get wrong ----

TEST(a_handle_that_was_moved_from_is_none) {  // etcd 14.11
  Scene s;
  Store store = check::memory();
  Stream stream = check::need(store.stream());
  const Store taken = std::move(store);
  const Stream taken_too = std::move(stream);
  refused_by_store(s, store, "the store is NULL");
  refused_by_stream(s, stream, WATCH_ERR_INVALID_ARGUMENT, "the stream is NULL");
  CHECK_OK(store.close());
  stream.close();
  stream.shutdown();
  Stream never_opened;
  refused_by_stream(s, never_opened, WATCH_ERR_INVALID_ARGUMENT, "the stream is NULL");
  CHECK_EQ(taken.revision(), 1);
}

TEST(an_empty_function_is_no_callback) {  // etcd 14.11
  Scene s;
  REFUSED(WATCH_ERR_INVALID_ARGUMENT, "function",
          s.store.stream(std::function<watch_status(const watch::ResponseView &)>()));
}

#ifdef __cpp_exceptions
TEST(an_error_is_thrown_where_a_value_is_asked_for) {  // etcd 14.11
  Scene s;
  const std::string before = state(s.store);
  try {
    s.store.put("", "v").value();
    CHECK(!"no throw");
  } catch (const watch::Exception &thrown) {
    CHECK_EQ(thrown.error().status(), WATCH_ERR_EMPTY_KEY);
    CHECK_EQ(std::string(thrown.what()), "the key is empty");
  }
  CHECK_EQ(state(s.store), before);
}
#else
TEST(without_exceptions_an_error_is_a_value) {  // etcd 14.11
  Scene s;
  const std::string before = state(s.store);
  const Result<std::int64_t> refused = s.store.put("", "v");
  CHECK(!refused);
  CHECK_EQ(refused.error().message(), std::string("the key is empty"));
  CHECK_EQ(state(s.store), before);
}
#endif

RUN_TESTS()
