// Stream in callback mode: lambdas, every answer, throws, calls from inside, the end of the function object.
#include <atomic>
#include <stdexcept>
#include <thread>

#include "check.hpp"

using check::Mailbox;
using watch::KeyRange;
using watch::ResponseView;
using watch::Store;
using watch::Stream;

// Counts the living: a function that holds one is destroyed exactly once if the count ends at 0.
class Life {
 public:
  explicit Life(std::atomic<int> &count) : count_(&count) { ++*count_; }
  Life(const Life &other) : count_(other.count_) { ++*count_; }
  ~Life() { --*count_; }

 private:
  std::atomic<int> *count_;
};

// "1:+a=1@2" for events of watch 1, "1!WATCH_ERR_IO" for its end.
static std::string line(const ResponseView &response) {
  const std::string id = std::to_string(response.watch_id());
  if (response.canceled()) return id + "!" + watch_status_name(response.cancel_status());
  if (response.progress()) return id + ":progress@" + std::to_string(response.revision());
  return id + ":" + check::text(response);
}

TEST(a_lambda_gets_every_response) {
  Store store = check::memory();
  Mailbox mailbox;
  Stream stream = check::need(store.stream([&](const ResponseView &response) {
    mailbox.put(line(response));
    return WATCH_OK;
  }));
  const std::int64_t id = check::need(stream.create(KeyRange::all()));
  CHECK_OK(store.put("a", "1"));
  CHECK_EQ(mailbox.take(), "1:+a=1@2");
  CHECK_OK(store.erase(KeyRange::all()));
  CHECK_EQ(mailbox.take(), "1:-a@3");
  CHECK_OK(stream.request_progress());
  CHECK_EQ(mailbox.take(), "-1:progress@3");
  CHECK_OK(stream.cancel(id));
  CHECK_EQ(mailbox.take(), "1!WATCH_OK");
}

TEST(a_callback_stream_cannot_be_polled) {
  Store store = check::memory();
  Stream stream = check::need(store.stream([](const ResponseView &) { return WATCH_OK; }));
  CHECK_ERR(stream.next(0), WATCH_ERR_INVALID_STATE);
  ResponseView buffer[1];
  CHECK_ERR(stream.next_batch(buffer, 1, 0), WATCH_ERR_INVALID_STATE);
  CHECK_EQ(stream.fd(), -1);
}

#ifdef __cpp_exceptions
TEST(a_throw_cancels_the_watch) {
  Store store = check::memory();
  Mailbox mailbox;
  std::atomic<int> alive{0};
  {
    Stream stream = check::need(store.stream([&mailbox, life = Life(alive)](const ResponseView &response) {
      mailbox.put(line(response));
      if (!response.canceled() && response.events()[0].key() == "bad") throw std::runtime_error("no");
      return WATCH_OK;
    }));
    check::need(stream.create(KeyRange::one("bad")));
    check::need(stream.create(KeyRange::one("good")));
    CHECK_OK(store.put("bad", "1"));
    CHECK_EQ(mailbox.take(), "1:+bad=1@2");
    CHECK_EQ(mailbox.take(), "1!WATCH_ERR_PANIC");
    CHECK_OK(store.put("bad", "2"));  // the watch is gone, the stream is not
    CHECK_OK(store.put("good", "3"));
    CHECK_EQ(mailbox.take(), "2:+good=3@4");
    CHECK_ERR(stream.cancel(1), WATCH_ERR_WATCH_NOT_FOUND);
    CHECK_EQ(alive.load(), 1);
  }
  CHECK_EQ(alive.load(), 0);
  CHECK_EQ(mailbox.size(), 0u);
}

TEST(a_throw_at_a_requested_progress_cancels_nothing) {  // it belongs to no watch
  Store store = check::memory();
  Mailbox mailbox;
  Stream stream = check::need(store.stream([&](const ResponseView &response) -> watch_status {
    mailbox.put(line(response));
    if (response.progress()) throw 7;
    return WATCH_OK;
  }));
  check::need(stream.create(KeyRange::all()));
  CHECK_OK(stream.request_progress());
  CHECK_EQ(mailbox.take(), "-1:progress@1");
  CHECK_OK(store.put("a", "1"));
  CHECK_EQ(mailbox.take(), "1:+a=1@2");
}

TEST(a_throw_at_the_end_changes_nothing) {
  Store store = check::memory();
  Mailbox mailbox;
  std::atomic<int> alive{0};
  {
    Stream stream = check::need(
        store.stream([&mailbox, life = Life(alive)](const ResponseView &response) -> watch_status {
          mailbox.put(line(response));
          throw 7;
        }));
    check::need(stream.create(KeyRange::all()));
    CHECK_OK(store.put("a", "1"));
    CHECK_EQ(mailbox.take(), "1:+a=1@2");
    CHECK_EQ(mailbox.take(), "1!WATCH_ERR_PANIC");
  }
  CHECK_EQ(alive.load(), 0);
}
#endif

TEST(a_negative_answer_cancels_the_watch_with_it) {
  Store store = check::memory();
  Mailbox mailbox;
  Stream stream = check::need(store.stream([&](const ResponseView &response) -> watch_status {
    mailbox.put(line(response));
    if (const auto error = response.cancel_error()) mailbox.put(error->name());
    return response.canceled() ? WATCH_OK : WATCH_ERR_LIMIT;
  }));
  check::need(stream.create(KeyRange::all()));
  CHECK_OK(store.put("a", "1"));
  CHECK_EQ(mailbox.take(), "1:+a=1@2");
  CHECK_EQ(mailbox.take(), "1!WATCH_ERR_LIMIT");
  CHECK_EQ(mailbox.take(), "WATCH_ERR_LIMIT");
}

TEST(again_offers_the_same_once_more_and_holds_back_one_watch) {
  Store store = check::memory();
  Mailbox mailbox;
  std::atomic<bool> open{false};
  std::atomic<int> refused{0};
  Stream stream = check::need(store.stream([&](const ResponseView &response) -> watch_status {
    if (response.watch_id() == 1 && !open) {
      ++refused;
      return WATCH_AGAIN;
    }
    mailbox.put(line(response));
    return WATCH_OK;
  }));
  check::need(stream.create(KeyRange::one("slow")));
  check::need(stream.create(KeyRange::one("fast")));
  CHECK_OK(store.put("slow", "1"));
  CHECK_OK(store.put("fast", "2"));
  CHECK_EQ(mailbox.take(), "2:+fast=2@3");
  CHECK_OK(store.put("fast", "3"));
  CHECK_EQ(mailbox.take(), "2:+fast=3@4");
  while (refused < 2) {  // offered again and again
    CHECK_OK(store.put("fast", "x"));
    mailbox.take();
  }
  open = true;
  CHECK_EQ(mailbox.take(), "1:+slow=1@2");
}

TEST(calls_from_inside) {
  Store store = check::memory();
  Mailbox mailbox;
  Stream stream;
  Stream made = check::need(store.stream([&](const ResponseView &response) {
    mailbox.put(line(response));
    if (!response.canceled() && response.watch_id() == 1) {
      watch::WatchOptions history;
      history.start_revision = 2;
      check::need(stream.create(KeyRange::one("a"), history));
      check::need(store.put("b", "2"));
      check::need(stream.cancel(1));
    }
    return WATCH_OK;
  }));
  stream = std::move(made);
  check::need(stream.create(KeyRange::one("a")));
  CHECK_OK(store.put("a", "1"));
  CHECK_EQ(mailbox.take(), "1:+a=1@2");
  const std::string x = mailbox.take(), y = mailbox.take();
  CHECK((x == "1!WATCH_OK" && y == "2:+a=1@2") || (y == "1!WATCH_OK" && x == "2:+a=1@2"));
  CHECK_EQ(store.revision(), 3);
}

TEST(close_from_inside) {
  Store store = check::memory();
  Mailbox mailbox;
  std::atomic<int> alive{0};
  auto gone = std::make_shared<Mailbox>();
  struct Tell {  // told when the function is destroyed
    std::shared_ptr<Mailbox> to;
    ~Tell() { to->put("destroyed"); }
  };
  auto tell = std::make_shared<Tell>(Tell{gone});
  gone->take();  // of the temporary
  Stream stream;
  Stream made = check::need(store.stream([&, tell, life = Life(alive)](const ResponseView &response) {
    mailbox.put(line(response));
    stream.close();
    mailbox.put("closed");
    return WATCH_OK;
  }));
  tell.reset();
  stream = std::move(made);
  check::need(stream.create(KeyRange::all()));
  CHECK_OK(store.put("a", "1"));
  CHECK_EQ(mailbox.take(), "1:+a=1@2");
  CHECK_EQ(mailbox.take(), "closed");
  CHECK_EQ(gone->take(), "destroyed");
  while (alive != 0) std::this_thread::yield();  // its neighbour in the same lambda
  CHECK_OK(store.put("a", "2"));
  CHECK_EQ(mailbox.size(), 0u);
}

TEST(the_function_is_destroyed_with_the_stream) {
  Store store = check::memory();
  std::atomic<int> alive{0};
  Stream stream =
      check::need(store.stream([life = Life(alive)](const ResponseView &) { return WATCH_OK; }));
  CHECK_EQ(alive.load(), 1);
  stream.shutdown();
  stream.close();
  CHECK_EQ(alive.load(), 0);
}

TEST(the_function_is_destroyed_when_the_call_fails) {
  Store store = check::memory();
  const Store taken = std::move(store);
  std::atomic<int> alive{0};
  CHECK_ERR(store.stream([life = Life(alive)](const ResponseView &) { return WATCH_OK; }),
            WATCH_ERR_INVALID_ARGUMENT);
  CHECK_EQ(alive.load(), 0);
}

TEST(an_empty_function_is_refused) {
  Store store = check::memory();
  const std::function<watch_status(const ResponseView &)> nothing;
  CHECK_ERR(store.stream(nothing), WATCH_ERR_INVALID_ARGUMENT);
}

TEST(a_callback_stream_may_outlive_its_store) {
  std::atomic<int> alive{0};
  {
    Stream stream;
    Store store = check::memory();
    stream = check::need(store.stream([life = Life(alive)](const ResponseView &) { return WATCH_OK; }));
    check::need(stream.create(KeyRange::all()));
    CHECK_OK(store.put("a", "1"));
    CHECK_OK(store.close());
    CHECK_ERR(stream.create(KeyRange::all()), WATCH_ERR_CLOSED);
  }
  CHECK_EQ(alive.load(), 0);
}

RUN_TESTS()
