// watch_txn.hpp - what is asked of a store: the options of a put and a range, and transactions.
// Part of watch.hpp, which holds the contract; include that one.
#ifndef WATCH_TXN_HPP
#define WATCH_TXN_HPP

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>
#include "watch_data.hpp"

namespace watch {

// How a key is written; the defaults are a plain put.
struct PutOptions {
  std::int64_t lease = 0;     // carried, never interpreted
  bool prev_kv = false;       // the result brings the key as it was before
  bool ignore_value = false;  // keep the value; the given one must be empty (etcd 14.7)
  bool ignore_lease = false;  // keep the lease; the given one must be 0
};

// Which keys of a range are read, in which order, and how much of them; the defaults: all, now, whole.
struct RangeOptions {
  std::int64_t revision = 0;  // 0: now (etcd 14.2)
  std::int64_t limit = 0;     // most keys; 0: all
  std::int64_t min_mod_revision = 0, max_mod_revision = 0;        // inclusive; 0: unset (etcd 14.5)
  std::int64_t min_create_revision = 0, max_create_revision = 0;  // inclusive; 0: unset
  std::uint32_t sort_target = WATCH_SORT_KEY;   // WATCH_SORT_*
  std::uint32_t sort_order = WATCH_ORDER_NONE;  // WATCH_ORDER_* (etcd 14.6)
  bool keys_only = false;                       // values are empty
  bool count_only = false;                      // no keys at all
};

namespace detail {

template <class Request>
Request init() noexcept {
  Request request;
  WATCH_INIT(&request);
  return request;
}
inline std::uint32_t flag(bool on, std::uint32_t bit) noexcept { return on ? bit : 0; }

// Requests without their bytes, which only the caller can keep in place.
inline watch_put_request request(const PutOptions &o) noexcept {
  auto r = init<watch_put_request>();
  r.lease = o.lease;
  r.flags = flag(o.prev_kv, WATCH_PUT_PREV_KV) | flag(o.ignore_value, WATCH_PUT_IGNORE_VALUE) |
            flag(o.ignore_lease, WATCH_PUT_IGNORE_LEASE);
  return r;
}
inline watch_range_request request(const RangeOptions &o) noexcept {
  auto r = init<watch_range_request>();
  r.revision = o.revision;
  r.limit = o.limit;
  r.min_mod_revision = o.min_mod_revision;
  r.max_mod_revision = o.max_mod_revision;
  r.min_create_revision = o.min_create_revision;
  r.max_create_revision = o.max_create_revision;
  r.sort_target = o.sort_target;
  r.sort_order = o.sort_order;
  r.flags = flag(o.keys_only, WATCH_RANGE_KEYS_ONLY) | flag(o.count_only, WATCH_RANGE_COUNT_ONLY);
  return r;
}
inline watch_delete_range_request delete_request(bool prev_kv) noexcept {
  auto r = init<watch_delete_range_request>();
  r.flags = flag(prev_kv, WATCH_DELETE_PREV_KV);
  return r;
}

}  // namespace detail

// A transaction: if all compares hold, the `then` operations run, otherwise the `else` operations, as one
// revision (etcd 14.9-14.13). It keeps copies of all bytes and may be committed many times; what is wrong
// with it is told by Store::commit. Thr: one thread that adds, or any number of commits.
class Txn {
 public:
  // Compares of the state before the transaction. `result` is one of WATCH_EQUAL, WATCH_NOT_EQUAL,
  // WATCH_GREATER, WATCH_LESS; a key that does not exist has 0 for every number.
  Txn &when_version(std::string_view key, std::uint32_t result, std::int64_t number) {
    return when(KeyRange::one(key), WATCH_COMPARE_VERSION, result, number);
  }
  Txn &when_create(std::string_view key, std::uint32_t result, std::int64_t revision) {
    return when(KeyRange::one(key), WATCH_COMPARE_CREATE, result, revision);
  }
  Txn &when_mod(std::string_view key, std::uint32_t result, std::int64_t revision) {
    return when(KeyRange::one(key), WATCH_COMPARE_MOD, result, revision);
  }
  Txn &when_lease(std::string_view key, std::uint32_t result, std::int64_t lease) {
    return when(KeyRange::one(key), WATCH_COMPARE_LEASE, result, lease);
  }
  // Never holds for a key that does not exist, not even WATCH_NOT_EQUAL.
  Txn &when_value(std::string_view key, std::uint32_t result, std::string_view value) {
    return when_value(KeyRange::one(key), result, value);
  }
  // Over a range every key must pass; an empty range counts as one absent key. `target` is WATCH_COMPARE_*.
  Txn &when(const KeyRange &range, std::uint32_t target, std::uint32_t result, std::int64_t number) {
    compares_.push_back({target, result, range, {}, number});
    return *this;
  }
  Txn &when_value(const KeyRange &range, std::uint32_t result, std::string_view value) {
    compares_.push_back({WATCH_COMPARE_VALUE, result, range, std::string(value), 0});
    return *this;
  }

  // Operations, executed in this order; each gives one item of ResultView::results. A range sees what the
  // operations before it wrote; `prev_kv` brings the deleted keys. A nested transaction's compares see the
  // state before the outermost one.
  Txn &then_put(std::string_view key, std::string_view value, const PutOptions &options = {}) {
    return add(success_, {KeyRange::one(key), std::string(value), detail::request(options)});
  }
  Txn &then_delete(const KeyRange &range, bool prev_kv = false) {
    return add(success_, {range, {}, detail::delete_request(prev_kv)});
  }
  Txn &then_range(const KeyRange &range, const RangeOptions &options = {}) {
    return add(success_, {range, {}, detail::request(options)});
  }
  Txn &then_txn(Txn txn) { return add(success_, {{}, {}, std::vector<Txn>(1, std::move(txn))}); }
  Txn &else_put(std::string_view key, std::string_view value, const PutOptions &options = {}) {
    return add(failure_, {KeyRange::one(key), std::string(value), detail::request(options)});
  }
  Txn &else_delete(const KeyRange &range, bool prev_kv = false) {
    return add(failure_, {range, {}, detail::delete_request(prev_kv)});
  }
  Txn &else_range(const KeyRange &range, const RangeOptions &options = {}) {
    return add(failure_, {range, {}, detail::request(options)});
  }
  Txn &else_txn(Txn txn) { return add(failure_, {{}, {}, std::vector<Txn>(1, std::move(txn))}); }

  // The form for watch.h; points into the Txn it was made of, which must stay as it is meanwhile.
  class Lowered;

 private:
  struct Compare {
    std::uint32_t target, result;
    KeyRange range;
    std::string value;
    std::int64_t number;
  };
  struct Op {  // requests are without their bytes; a vector holds the one nested transaction
    KeyRange range;
    std::string value;
    std::variant<watch_put_request, watch_range_request, watch_delete_range_request, std::vector<Txn>>
        request;
  };
  Txn &add(std::vector<Op> &list, Op op) {
    list.push_back(std::move(op));
    return *this;
  }
  std::vector<Compare> compares_;
  std::vector<Op> success_, failure_;
};

class Txn::Lowered {
 public:
  explicit Lowered(const Txn &txn) : request_(detail::init<watch_txn_request>()) {
    compares_.reserve(txn.compares_.size());
    for (const Compare &c : txn.compares_) {
      compares_.push_back({c.target, c.result, detail::bytes(c.range.key), detail::bytes(c.range.range_end),
                           detail::bytes(c.value), c.number, 0});
    }
    requests_.reserve(txn.success_.size() + txn.failure_.size());  // ops_ points into it
    ops_.reserve(requests_.capacity());
    for (const Op &op : txn.success_) lower(op);
    for (const Op &op : txn.failure_) lower(op);
    request_.compare = compares_.data();
    request_.compare_count = compares_.size();
    request_.success = ops_.data();
    request_.success_count = txn.success_.size();
    request_.failure = ops_.data() + txn.success_.size();
    request_.failure_count = txn.failure_.size();
  }
  Lowered(Lowered &&) = delete;
  const watch_txn_request *get() const noexcept { return &request_; }

 private:
  using Request = std::variant<watch_put_request, watch_range_request, watch_delete_range_request,
                               std::unique_ptr<Lowered>>;
  void lower(const Op &op) {
    watch_op out{};
    const watch_bytes key = detail::bytes(op.range.key), range_end = detail::bytes(op.range.range_end);
    if (const auto *put = std::get_if<watch_put_request>(&op.request)) {
      auto *r = std::get_if<watch_put_request>(&requests_.emplace_back(*put));
      r->key = key;
      r->value = detail::bytes(op.value);
      out.type = WATCH_OP_PUT;
      out.request.put = r;
    } else if (const auto *range = std::get_if<watch_range_request>(&op.request)) {
      auto *r = std::get_if<watch_range_request>(&requests_.emplace_back(*range));
      r->key = key;
      r->range_end = range_end;
      out.type = WATCH_OP_RANGE;
      out.request.range = r;
    } else if (const auto *erase = std::get_if<watch_delete_range_request>(&op.request)) {
      auto *r = std::get_if<watch_delete_range_request>(&requests_.emplace_back(*erase));
      r->key = key;
      r->range_end = range_end;
      out.type = WATCH_OP_DELETE_RANGE;
      out.request.delete_range = r;
    } else {
      auto nested = std::make_unique<Lowered>(std::get_if<std::vector<Txn>>(&op.request)->front());
      out.type = WATCH_OP_TXN;
      out.request.txn = nested->get();
      requests_.emplace_back(std::move(nested));
    }
    ops_.push_back(out);
  }
  std::vector<watch_compare> compares_;
  std::vector<Request> requests_;
  std::vector<watch_op> ops_;
  watch_txn_request request_;
};

}  // namespace watch
#endif  // WATCH_TXN_HPP
