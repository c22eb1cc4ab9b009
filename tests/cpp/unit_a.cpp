// One of two units that use the whole header and are linked into one program: nothing is defined twice, and
// handles made here are used there.
#include "check.hpp"

std::string other_unit(watch::Store &store, watch::Stream stream);
watch::Result<watch::Response> other_response(watch::Store &store);

TEST(handles_cross_units) {
  watch::Store store = check::memory();
  watch::Stream stream = check::need(store.stream());
  check::need(stream.create(watch::KeyRange::all()));
  CHECK_OK(store.commit(watch::Txn().then_put("a", "1")));
  CHECK_EQ(other_unit(store, std::move(stream)), "+a=1@2");
}

TEST(responses_and_errors_cross_units) {
  watch::Store store = check::memory();
  CHECK_ERR(other_response(store), WATCH_ERR_FUTURE_REVISION);
  CHECK_OK(store.put("k", "v"));
  CHECK_OK(store.put("k", "w"));
  CHECK_EQ(check::text(check::need(other_response(store))), "+k=v@2 +k=w@3");
}

RUN_TESTS()
