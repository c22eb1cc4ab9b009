// Who may outlive whom: retained responses, results, streams and stores, copied and moved in every way.
#include <thread>

#include "check.hpp"

using watch::KeyRange;
using watch::Response;
using watch::ResultView;
using watch::Store;
using watch::Stream;

static const std::string big(10'000, 'v');

static watch::WatchOptions history() {
  watch::WatchOptions options;
  options.start_revision = 1;
  options.prev_kv = true;
  return options;
}

// A response with three events, whose stream and store are gone.
static Response orphan(const std::string &path) {
  watch_store_options options;
  WATCH_INIT(&options);
  options.flags = WATCH_OPEN_CREATE;
  options.durability = WATCH_DURABILITY_NONE;
  Store store = check::need(Store::open(path.c_str(), &options));
  Stream stream = check::need(store.stream());
  check::need(store.put("a", big));
  check::need(store.put("a", "2"));
  check::need(store.erase(KeyRange::all()));
  check::need(stream.create(KeyRange::all(), history()));
  return check::next(stream).retain();
}
static void whole(const Response &response) {
  CHECK_EQ(check::text(response), "+a=" + big + "@2 +a=2@3 -a@4");
  CHECK(response.events()[0].prev_kv() == nullptr);
  CHECK_EQ(response.events()[1].prev_kv()->value(), big);
  CHECK_EQ(response.events()[2].prev_kv()->value(), "2");
  CHECK_EQ(response.resume_revision(), 5);
}

TEST(a_retained_response_outlives_stream_store_and_files) {
  std::optional<Response> kept;
  {
    check::TempDir dir;
    kept = orphan(dir / "store");
  }
  whole(*kept);
}

TEST(responses_are_copied_and_moved) {
  check::TempDir dir;
  Response a = orphan(dir / "store");
  Response b = a;
  Response c = std::move(a);
  whole(b);
  whole(c);
  a = b;  // a moved-from object may be assigned to
  b = Response();
  CHECK(b.get() == nullptr);
  whole(a);
  Response &self = a;
  a = self;
  a = std::move(c);
  whole(a);
  std::thread([r = a] { static_cast<void>(r.events()[0].value().size()); }).join();
  const Response from_borrow = a.retain();
  a = Response();
  whole(from_borrow);
}

TEST(a_retained_response_survives_the_next_call) {
  Store store = check::memory();
  Stream stream = check::need(store.stream());
  check::need(stream.create(KeyRange::all()));
  std::vector<Response> kept;
  for (int i = 0; i < 100; ++i) {
    CHECK_OK(store.put("k", std::to_string(i)));
    kept.push_back(check::next(stream).retain());
  }
  for (std::size_t i = 0; i < 100; ++i) CHECK_EQ(kept[i].events()[0].value(), std::to_string(i));
}

TEST(a_retained_response_survives_compaction) {
  check::TempDir dir;
  watch_store_options options;
  WATCH_INIT(&options);
  options.flags = WATCH_OPEN_CREATE;
  options.durability = WATCH_DURABILITY_NONE;
  options.segment_bytes = 64 << 10;
  Store store = check::need(Store::open((dir / "store").c_str(), &options));
  Stream stream = check::need(store.stream());
  CHECK_OK(store.put("k", big));
  check::need(stream.create(KeyRange::all(), history()));
  const Response kept = check::next(stream).retain();
  for (int i = 0; i < 100; ++i) CHECK_OK(store.put("k", std::string(10'000, 'w')));
  CHECK_OK(store.compact(store.revision(), true));
  CHECK_EQ(kept.events()[0].value(), big);
}

TEST(results_outlive_the_store) {
  ResultView range, one, moved;
  {
    check::TempDir dir;
    watch_store_options options;
    WATCH_INIT(&options);
    options.flags = WATCH_OPEN_CREATE;
    Store store = check::need(Store::open((dir / "store").c_str(), &options));
    CHECK_OK(store.put("a", big));
    CHECK_OK(store.put("b", "2"));
    range = check::need(store.range(KeyRange::all()));
    one = *check::need(store.get("b"));
    ResultView copy = range;
    moved = std::move(copy);
    CHECK_OK(store.compact(store.revision(), true));
  }
  CHECK_EQ(check::text(range), "a=" + big + " b=2");
  range = ResultView();
  CHECK_EQ(check::text(moved), "a=" + big + " b=2");
  CHECK_EQ(check::text(one), "b=2");
}

TEST(a_stream_outlives_its_store) {
  Stream stream;
  {
    Store store = check::memory();
    stream = check::need(store.stream());
    check::need(stream.create(KeyRange::all()));
  }
  for (;;) {
    const auto r = stream.next();
    if (!r) {
      CHECK_ERR(r, WATCH_ERR_CLOSED);
      break;
    }
  }
}

TEST(a_store_moves_under_its_stream) {
  Store store = check::memory();
  Stream stream = check::need(store.stream());
  const std::int64_t id = check::need(stream.create(KeyRange::all()));
  Store other = std::move(store);
  Stream moved = std::move(stream);
  CHECK_OK(other.put("k", "v"));
  CHECK_EQ(check::text(check::next(moved)), "+k=v@2");
  CHECK_OK(moved.cancel(id));
}

TEST(pinned_bytes_are_counted_and_given_back) {
  for (const std::uint32_t durability : {WATCH_DURABILITY_NONE, WATCH_DURABILITY_COMMIT}) {
    check::TempDir dir;
    watch_store_options options;
    WATCH_INIT(&options);
    options.flags = WATCH_OPEN_CREATE;
    options.durability = durability;
    options.segment_bytes = 64 << 10;
    Store store = check::need(Store::open((dir / "store").c_str(), &options));
    CHECK_OK(store.put("k", big));
    ResultView pin = *check::need(store.get("k"));
    for (int i = 0; i < 30; ++i) CHECK_OK(store.put("k", std::string(10'000, 'w')));
    CHECK_OK(store.compact(store.revision(), true));
    CHECK(check::need(store.stats()).pinned_bytes > 0);
    CHECK_EQ(check::text(pin), "k=" + big);
    pin = ResultView();
    CHECK_EQ(check::need(store.stats()).pinned_bytes, 0u);
  }
}

RUN_TESTS()
