// Result, Status, Error, Exception, Span: what a call answers, and how it travels.
#include <cerrno>
#include <thread>

#include "check.hpp"

using watch::Error;
using watch::Result;
using watch::Status;

static Result<std::string> text(bool good) {
  if (!good) return Error(WATCH_ERR_IO, "no luck");
  return std::string("luck");
}

TEST(a_result_holds_a_value) {
  Result<std::string> r = text(true);
  CHECK(r.has_value() && static_cast<bool>(r));
  CHECK_EQ(*r, "luck");
  CHECK_EQ(r->size(), 4u);
  *r += "!";
  CHECK_EQ(*static_cast<const Result<std::string> &>(r), "luck!");
  std::string moved = *std::move(r);
  CHECK_EQ(moved, "luck!");
  CHECK_EQ(text(true).value_or("else"), "luck");
}

TEST(a_result_holds_an_error) {
  const Result<std::string> r = text(false);
  CHECK(!r);
  CHECK_EQ(r.error().status(), WATCH_ERR_IO);
  CHECK_EQ(r.error().name(), std::string_view("WATCH_ERR_IO"));
  CHECK_EQ(r.error().message(), "no luck");
  CHECK_EQ(text(false).value_or("else"), "else");
}

TEST(a_result_may_be_move_only) {
  Result<std::unique_ptr<int>> r = std::make_unique<int>(7);
  Result<std::unique_ptr<int>> s = std::move(r);
  CHECK_EQ(**s, 7);
}

TEST(an_error_without_text_has_the_general_sentence) {
  const Error error(WATCH_ERR_BUSY);
  CHECK_EQ(error.message(), std::string(watch_status_message(WATCH_ERR_BUSY)));
  CHECK(!error.message().empty());
}

TEST(the_last_error_is_copied_out) {
  watch::Store store = check::memory();
  const auto r = store.put("", "v");
  if (!CHECK_ERR(r, WATCH_ERR_EMPTY_KEY)) return;
  const std::string before = r.error().message();
  CHECK(!store.compact(1000));
  CHECK_EQ(r.error().message(), before);
  CHECK(!before.empty() && before.find('\n') == std::string::npos);
  // A status that is not the last one gets no foreign message.
  CHECK_EQ(Error::last(WATCH_ERR_BUSY).message(), std::string(watch_status_message(WATCH_ERR_BUSY)));
}

TEST(an_error_travels_to_another_thread) {
  watch::Store store = check::memory();
  CHECK_ERR(store.put("", "v"), WATCH_ERR_EMPTY_KEY);
  std::optional<Error> error;
  std::thread([&] { error = store.compact(1000).error(); }).join();
  CHECK_EQ(error->status(), WATCH_ERR_FUTURE_REVISION);
  CHECK_EQ(error->current_revision(), 1);
  CHECK_EQ(error->compact_revision(), 0);
  CHECK_EQ(Error::last(WATCH_ERR_FUTURE_REVISION).current_revision(), 0);  // not this thread's error
}

TEST(numbers_come_with_the_error) {
  watch::Store store = check::memory();
  for (int i = 0; i < 4; ++i) CHECK_OK(store.put("k", "v"));
  CHECK_OK(store.compact(4));
  const auto compacted = store.get("k", 3);
  if (CHECK_ERR(compacted, WATCH_ERR_COMPACTED)) CHECK_EQ(compacted.error().compact_revision(), 4);
  const auto future = store.get("k", 9);
  if (CHECK_ERR(future, WATCH_ERR_FUTURE_REVISION)) CHECK_EQ(future.error().current_revision(), 5);
}

TEST(the_system_error_comes_with_the_error) {
  check::TempDir dir;
  const auto r = watch::Store::open((dir / "no/such/directory").c_str());
  if (CHECK_ERR(r, WATCH_ERR_IO)) CHECK_EQ(r.error().os_error(), ENOENT);
}

TEST(a_status_is_a_result_of_nothing) {
  watch::Store store = check::memory();
  const Status good = store.sync();
  CHECK_OK(good);
  CHECK(*good == std::monostate());
  CHECK_ERR(store.compact(0x7fffffff), WATCH_ERR_FUTURE_REVISION);
}

TEST(a_span_is_a_borrowed_array) {
  const int numbers[] = {1, 2, 3};
  const watch::Span<int> span(numbers, 3);
  int sum = 0;
  for (int n : span) sum += n;
  CHECK_EQ(sum, 6);
  CHECK_EQ(span[2], 3);
  CHECK(span.size() == 3 && !span.empty() && span.data() == numbers);
  CHECK(watch::Span<int>().empty());
#ifdef __cpp_lib_span
  const std::span<const int> std_span = span;
  CHECK_EQ(std_span.size(), 3u);
#endif
}

#ifdef __cpp_exceptions
TEST(value_throws_only_for_an_error) {
  CHECK_EQ(text(true).value(), "luck");
  bool thrown = false;
  try {
    static_cast<void>(text(false).value());
  } catch (const watch::Exception &e) {
    thrown = true;
    CHECK_EQ(std::string(e.what()), "no luck");
    CHECK_EQ(e.error().status(), WATCH_ERR_IO);
  }
  CHECK(thrown);
}
#endif

#ifdef __cpp_lib_expected
TEST(a_result_becomes_std_expected) {
  std::expected<std::string, Error> good = text(true), bad = text(false);
  CHECK_EQ(good.value(), "luck");
  CHECK_EQ(bad.error().status(), WATCH_ERR_IO);
}
#endif

RUN_TESTS()
