// Stream in poll mode: next, next_batch, fd, ids, one consumer, shutdown and close.
#include <poll.h>

#include <atomic>
#include <thread>

#include "check.hpp"

using watch::KeyRange;
using watch::Store;
using watch::Stream;
using watch::WatchOptions;

static WatchOptions from(std::int64_t start_revision) {
  WatchOptions options;
  options.start_revision = start_revision;
  return options;
}
static bool readable(Stream &stream, int timeout_ms) {
  pollfd p{stream.fd(), POLLIN, 0};
  return ::poll(&p, 1, timeout_ms) == 1 && (p.revents & POLLIN) != 0;
}

TEST(next_without_anything_ready) {
  Store store = check::memory();
  Stream stream = check::need(store.stream());
  CHECK(!check::need(stream.next(0)).has_value());
  CHECK(!check::need(stream.next(5)).has_value());
  watch::ResponseView buffer[2];
  CHECK(check::need(stream.next_batch(buffer, 2, 0)).empty());
}

TEST(next_takes_what_was_written) {
  Store store = check::memory();
  Stream stream = check::need(store.stream());
  const std::int64_t id = check::need(stream.create(KeyRange::all()));
  CHECK_EQ(id, 1);
  CHECK_OK(store.put("a", "1"));
  const watch::ResponseView response = check::next(stream);
  CHECK_EQ(response.watch_id(), id);
  CHECK_EQ(check::text(response), "+a=1@2");
  CHECK_EQ(response.resume_revision(), 3);
  CHECK(!response.created() && !response.canceled() && !response.progress() && !response.fragment());
  CHECK(!check::need(stream.next(0)).has_value());
}

TEST(next_waits_for_another_thread) {
  Store store = check::memory();
  Stream stream = check::need(store.stream());
  check::need(stream.create(KeyRange::all()));
  std::thread writer([&] { check::need(store.put("a", "1")); });
  CHECK_EQ(check::text(check::next(stream)), "+a=1@2");
  writer.join();
}

TEST(batches) {
  Store store = check::memory();
  Stream stream = check::need(store.stream());
  constexpr int watches = 5;
  for (int i = 0; i < watches; ++i) check::need(stream.create(KeyRange::all(), from(1)));
  CHECK_OK(store.put("a", "1"));
  watch::ResponseView buffer[3];
  int seen = 0;
  std::string ids;
  while (seen < watches) {
    const auto batch = check::need(stream.next_batch(buffer, 3));
    CHECK(batch.size() >= 1 && batch.size() <= 3);
    for (const watch::ResponseView &response : batch) {
      CHECK_EQ(check::text(response), "+a=1@2");
      ids += std::to_string(response.watch_id());
      ++seen;
    }
  }
  for (const char *id : {"1", "2", "3", "4", "5"}) CHECK(ids.find(id) != std::string::npos);
  CHECK_ERR(stream.next_batch(buffer, 0, 0), WATCH_ERR_INVALID_ARGUMENT);
}

TEST(a_response_is_cut_at_its_options) {
  Store store = check::memory();
  watch::StreamOptions options;
  options.batch_revisions = 2;
  Stream stream = check::need(store.stream(options));
  for (int i = 0; i < 5; ++i) CHECK_OK(store.put("k", std::to_string(i)));
  check::need(stream.create(KeyRange::all(), from(1)));
  CHECK_EQ(check::text(check::next(stream)), "+k=0@2 +k=1@3");
  CHECK_EQ(check::text(check::next(stream)), "+k=2@4 +k=3@5");
  CHECK_EQ(check::text(check::next(stream)), "+k=4@6");

  options.batch_revisions = 0;
  options.batch_bytes = 1;  // a revision is never divided, so this is one each
  Stream single = check::need(store.stream(options));
  check::need(single.create(KeyRange::all(), from(5)));
  CHECK_EQ(check::text(check::next(single)), "+k=3@5");
  CHECK_EQ(check::text(check::next(single)), "+k=4@6");
}

TEST(fd_is_readable_while_something_is_queued) {
  if (!CHECK((watch_features() & WATCH_FEATURE_FD) != 0)) return;
  Store store = check::memory();
  Stream stream = check::need(store.stream());
  check::need(stream.create(KeyRange::all()));
  if (!CHECK(stream.fd() >= 0)) return;
  CHECK_EQ(stream.fd(), stream.fd());
  CHECK(!readable(stream, 0));
  CHECK_OK(store.put("a", "1"));
  CHECK(readable(stream, -1));
  CHECK(readable(stream, 0));  // level-triggered
  while (check::need(stream.next(0))) {
  }
  CHECK(!readable(stream, 0));
  stream.shutdown();
  CHECK(readable(stream, -1));
}

TEST(ids_belong_to_the_stream) {
  Store store = check::memory();
  Stream stream = check::need(store.stream()), other = check::need(store.stream());
  WatchOptions seven;
  seven.watch_id = 7;
  CHECK_EQ(check::need(stream.create(KeyRange::all(), seven)), 7);
  CHECK_ERR(stream.create(KeyRange::all(), seven), WATCH_ERR_DUPLICATE_WATCH_ID);
  CHECK_EQ(check::need(other.create(KeyRange::all(), seven)), 7);
  CHECK_EQ(check::need(stream.create(KeyRange::all())), 1);
  seven.watch_id = -3;
  CHECK_ERR(stream.create(KeyRange::all(), seven), WATCH_ERR_INVALID_ARGUMENT);
}

TEST(watch_data_comes_back) {
  Store store = check::memory();
  Stream stream = check::need(store.stream());
  int mine = 0, yours = 0;
  WatchOptions options;
  options.watch_data = &mine;
  const std::int64_t first = check::need(stream.create(KeyRange::one("a"), options));
  options.watch_data = &yours;
  check::need(stream.create(KeyRange::one("a"), options));
  CHECK_OK(store.put("a", "1"));
  for (int i = 0; i < 2; ++i) {
    const watch::ResponseView response = check::next(stream);
    CHECK(response.watch_data() == (response.watch_id() == first ? &mine : &yours));
  }
}

TEST(cancel_ends_one_watch) {
  Store store = check::memory();
  Stream stream = check::need(store.stream());
  const std::int64_t a = check::need(stream.create(KeyRange::all()));
  const std::int64_t b = check::need(stream.create(KeyRange::all()));
  CHECK_OK(stream.cancel(a));
  const watch::ResponseView last = check::next(stream);
  CHECK(last.canceled() && last.watch_id() == a && last.cancel_status() == WATCH_OK);
  CHECK(!last.cancel_error());
  CHECK_ERR(stream.cancel(a), WATCH_ERR_WATCH_NOT_FOUND);
  CHECK_ERR(stream.cancel(99), WATCH_ERR_WATCH_NOT_FOUND);
  CHECK_OK(store.put("k", "v"));
  const watch::ResponseView event = check::next(stream);
  CHECK(event.watch_id() == b && event.events().size() == 1);
  CHECK(!check::need(stream.next(0)).has_value());
}

TEST(one_consumer_at_a_time) {
  Store store = check::memory();
  Stream stream = check::need(store.stream());
  std::atomic<bool> ended{false};
  std::thread consumer([&] {
    for (;;) {  // BUSY here means that the other thread was inside for a moment
      const auto r = stream.next();
      if (!r && r.error().status() != WATCH_ERR_BUSY) break;
    }
    ended = true;
  });
  for (;;) {
    const auto r = stream.next(0);
    if (!r) {
      CHECK_ERR(r, WATCH_ERR_BUSY);
      break;
    }
    std::this_thread::yield();
  }
  stream.shutdown();
  consumer.join();
  CHECK(ended);
}

TEST(shutdown_wakes_the_consumer) {
  Store store = check::memory();
  Stream stream = check::need(store.stream());
  const std::int64_t id = check::need(stream.create(KeyRange::all()));
  watch_status status = WATCH_OK;
  std::thread consumer([&] {
    for (;;) {
      const auto r = stream.next();
      if (!r) {
        status = r.error().status();
        return;
      }
    }
  });
  stream.shutdown();
  consumer.join();
  CHECK_EQ(status, WATCH_ERR_CLOSED);
  stream.shutdown();
  CHECK_ERR(stream.next(), WATCH_ERR_CLOSED);
  CHECK_ERR(stream.create(KeyRange::all()), WATCH_ERR_CLOSED);
  CHECK(!stream.cancel(id));
  CHECK(!stream.request_progress());
}

TEST(closing_the_store_ends_its_streams) {
  Store store = check::memory();
  Stream stream = check::need(store.stream());
  check::need(stream.create(KeyRange::all()));
  watch_status status = WATCH_OK;
  std::thread consumer([&] {
    for (;;) {
      const auto r = stream.next();
      if (!r) {
        status = r.error().status();
        return;
      }
    }
  });
  CHECK_OK(store.close());
  consumer.join();
  CHECK_EQ(status, WATCH_ERR_CLOSED);
}

TEST(streams_end_with_their_scope) {
  Store store = check::memory();
  {
    Stream a = check::need(store.stream());
    Stream b = check::need(store.stream());
    check::need(a.create(KeyRange::all()));
    CHECK_EQ(check::need(store.stats()).stream_count, 2u);
    b.close();
    CHECK_EQ(check::need(store.stats()).stream_count, 1u);
    CHECK(b.get() == nullptr);
    CHECK_ERR(b.next(0), WATCH_ERR_INVALID_ARGUMENT);
    CHECK_ERR(b.create(KeyRange::all()), WATCH_ERR_INVALID_ARGUMENT);
    b.close();
  }
  CHECK_EQ(check::need(store.stats()).stream_count, 0u);
  CHECK_EQ(check::need(store.stats()).watch_count, 0u);
}

RUN_TESTS()
