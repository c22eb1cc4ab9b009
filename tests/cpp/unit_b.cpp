// The other unit; see unit_a.cpp.
#include "check.hpp"

std::string other_unit(watch::Store &store, watch::Stream stream) {
  check::need(store.commit(watch::Txn().then_range(watch::KeyRange::all())));
  return check::text(check::next(stream));
}

watch::Result<watch::Response> other_response(watch::Store &store) {
  if (const auto probe = store.get("k", 3); !probe) return probe.error();
  watch::Stream stream = check::need(store.stream());
  watch::WatchOptions options;
  options.start_revision = 2;
  if (const auto id = stream.create(watch::KeyRange::all(), options); !id) return id.error();
  return check::next(stream).retain();
}
