// watch_data.hpp - what C++ calls of libwatch give back and take: errors, results, keys, events, ranges.
// Part of watch.hpp, which holds the contract; include that one.
#ifndef WATCH_DATA_HPP
#define WATCH_DATA_HPP

#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include "watch.h"
#if __cplusplus >= 202002L
#include <version>
#endif
#ifdef __cpp_lib_span
#include <span>
#endif
#ifdef __cpp_lib_expected
#include <expected>
#endif

namespace watch {

// What went wrong, copied out of the failing thread's last error, so that it can travel.
class Error {
 public:
  explicit Error(watch_status status, std::string message = {})
      : status_(status), message_(std::move(message)) {
    if (message_.empty()) message_ = watch_status_message(status);
  }
  // The error of the call that has just answered `status` on this thread.
  static Error last(watch_status status) {
    watch_error_info info;
    WATCH_INIT(&info);
    if (watch_last_error_info(&info) != WATCH_OK || info.status != status) return Error(status);
    Error error(status, info.message);
    error.os_error_ = info.os_error;
    error.compact_revision_ = info.compact_revision;
    error.current_revision_ = info.current_revision;
    return error;
  }
  watch_status status() const noexcept { return status_; }                        // WATCH_ERR_*
  const char *name() const noexcept { return watch_status_name(status_); }        // "WATCH_ERR_COMPACTED"
  int os_error() const noexcept { return os_error_; }                             // errno, or 0
  std::int64_t compact_revision() const noexcept { return compact_revision_; }    // COMPACTED, else 0
  std::int64_t current_revision() const noexcept { return current_revision_; }    // FUTURE_REVISION, else 0
  const std::string &message() const noexcept { return message_; }                // one line, never empty

 private:
  friend class ResponseView;
  watch_status status_;
  int os_error_ = 0;
  std::int64_t compact_revision_ = 0, current_revision_ = 0;
  std::string message_;
};

// Thrown by Result::value, and by nothing else.
class Exception : public std::exception {
 public:
  explicit Exception(Error error) : error_(std::move(error)) {}
  const char *what() const noexcept override { return error_.message().c_str(); }
  const Error &error() const noexcept { return error_; }

 private:
  Error error_;
};

// A T or an Error: the subset of std::expected<T, Error> that C++17 can have. `*` and `->` need a value,
// `error` needs an error; the other way round is undefined, as in std::expected.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}
  bool has_value() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return has_value(); }
  T &operator*() & noexcept { return *std::get_if<0>(&state_); }
  const T &operator*() const & noexcept { return *std::get_if<0>(&state_); }
  T &&operator*() && noexcept { return std::move(*std::get_if<0>(&state_)); }
  T *operator->() noexcept { return std::get_if<0>(&state_); }
  const T *operator->() const noexcept { return std::get_if<0>(&state_); }
  const Error &error() const noexcept { return *std::get_if<1>(&state_); }
  template <class U>
  T value_or(U &&other) && {
    return has_value() ? std::move(**this) : static_cast<T>(std::forward<U>(other));
  }
#ifdef __cpp_exceptions
  // The value, or a watch::Exception.
  T value() && {
    if (!has_value()) throw Exception(error());
    return std::move(**this);
  }
#endif
#ifdef __cpp_lib_expected
  operator std::expected<T, Error>() && {
    if (has_value()) return std::move(**this);
    return std::unexpected(error());
  }
#endif

 private:
  std::variant<T, Error> state_;
};
using Status = Result<std::monostate>;

// Borrowed array; converts to std::span where there is one.
template <class T>
class Span {
 public:
  using value_type = T;
  Span() = default;
  Span(const T *data, std::size_t size) noexcept : data_(data), size_(size) {}
  const T *begin() const noexcept { return data_; }
  const T *end() const noexcept { return data_ + size_; }
  const T *data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  const T &operator[](std::size_t i) const noexcept { return data_[i]; }
#ifdef __cpp_lib_span
  operator std::span<const T>() const noexcept { return {data_, size_}; }
#endif

 private:
  const T *data_ = nullptr;
  std::size_t size_ = 0;
};

namespace detail {

inline watch_bytes bytes(std::string_view text) noexcept { return watch_bytes_of(text.data(), text.size()); }
inline std::string_view view(watch_bytes b) noexcept {
  return b.len == 0 ? std::string_view() : std::string_view(reinterpret_cast<const char *>(b.data), b.len);
}
inline Status check(watch_status status) {
  if (status < 0) return Error::last(status);
  return std::monostate();
}

// One reference to a counted object of the library.
template <class T, const T *(*Retain)(const T *), void (*Release)(const T *)>
class Ref {
 public:
  Ref() = default;
  explicit Ref(const T *owned) noexcept : object_(owned) {}
  Ref(const Ref &other) noexcept : object_(other.object_ ? Retain(other.object_) : nullptr) {}
  Ref(Ref &&other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Ref &operator=(Ref other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Ref() { Release(object_); }
  const T *get() const noexcept { return object_; }

 private:
  const T *object_ = nullptr;
};

}  // namespace detail

// One version of a key: watch_kv with names for its bytes. The numbers are the members of watch_kv:
// create_revision, mod_revision, version, lease (etcd 1.6).
class KeyValue : public watch_kv {
 public:
  std::string_view key() const noexcept { return detail::view(watch_kv::key); }
  std::string_view value() const noexcept { return detail::view(watch_kv::value); }
};

// One change of a key (etcd 5.1, 5.2): of a delete only key and mod_revision are set.
class Event : public watch_event {
 public:
  const KeyValue &kv() const noexcept { return reinterpret_cast<const KeyValue &>(watch_event::kv); }
  // The key as it was before; nullptr unless asked for and still available.
  const KeyValue *prev_kv() const noexcept {
    return reinterpret_cast<const KeyValue *>(watch_event::prev_kv);
  }
  bool is_put() const noexcept { return type == WATCH_EVENT_PUT; }
  bool is_delete() const noexcept { return type == WATCH_EVENT_DELETE; }
  // The first version of its key (etcd 5.3).
  bool is_create() const noexcept { return is_put() && kv().create_revision == kv().mod_revision; }
  std::string_view key() const noexcept { return kv().key(); }
  std::string_view value() const noexcept { return kv().value(); }
  std::int64_t mod_revision() const noexcept { return kv().mod_revision; }
};

static_assert(std::is_standard_layout_v<KeyValue> && sizeof(KeyValue) == sizeof(watch_kv) &&
              alignof(KeyValue) == alignof(watch_kv));
static_assert(sizeof(Event) == sizeof(watch_event) && alignof(Event) == alignof(watch_event));
static_assert(std::is_standard_layout_v<Event> && std::is_trivially_copyable_v<Event>);

// key and range_end as in etcd 2.2: an empty range_end is the single key, "\0" every key from `key` on.
struct KeyRange {
  std::string key, range_end;
  static KeyRange one(std::string_view key) { return {std::string(key), {}}; }
  static KeyRange from(std::string_view key) {
    return {key.empty() ? std::string(1, '\0') : std::string(key), std::string(1, '\0')};
  }
  static KeyRange all() { return from({}); }
  // The half-open range; an empty range_end would be the single key.
  static KeyRange between(std::string_view key, std::string_view range_end) {
    return {std::string(key), std::string(range_end)};
  }
  // Every key that starts with `prefix` (etcd 2.5); the empty prefix is all().
  static KeyRange prefix(std::string_view prefix) {
    if (prefix.empty()) return all();
    KeyRange range{std::string(prefix), std::string(prefix.size(), '\0')};
    watch_bytes end{};
    auto *buffer = reinterpret_cast<std::uint8_t *>(range.range_end.data());
    const watch_status status = watch_prefix_end(detail::bytes(prefix), buffer, prefix.size(), &end);
    if (status < 0) return from(prefix);  // cannot happen: the buffer fits
    range.range_end = std::string(detail::view(end));
    return range;
  }
};

// A response that the library still owns: valid until the next call of next, next_batch or close on its
// stream, or until the callback returns. Small and freely copied.
class ResponseView {
 public:
  ResponseView() = default;  // empty; only get() may be called
  explicit ResponseView(const watch_response *response) noexcept : view_(response) {}
  const watch_response *get() const noexcept { return view_; }
  // WATCH_ID_NONE in the answer to request_progress.
  std::int64_t watch_id() const noexcept { return view_->watch_id; }
  // The store's, as in etcd's header (etcd 8.14); not a resume point.
  std::int64_t revision() const noexcept { return view_->revision; }
  // The start_revision that continues exactly after this response; 0 for a fragment that is not the last.
  std::int64_t resume_revision() const noexcept { return view_->resume_revision; }
  // Set when canceled by compaction, else 0: where history begins now.
  std::int64_t compact_revision() const noexcept { return view_->compact_revision; }
  bool created() const noexcept { return has(WATCH_RESPONSE_CREATED); }
  bool canceled() const noexcept { return has(WATCH_RESPONSE_CANCELED); }  // the last of this watch_id
  bool progress() const noexcept { return has(WATCH_RESPONSE_PROGRESS); }  // etcd 12.1
  bool fragment() const noexcept { return has(WATCH_RESPONSE_FRAGMENT); }  // more of the same follows
  watch_status cancel_status() const noexcept { return view_->cancel_status; }
  // Why the watch ended; nullopt if it did not, or if the user asked for it.
  std::optional<Error> cancel_error() const {
    if (!canceled() || cancel_status() >= 0) return std::nullopt;
    Error error(cancel_status(), view_->cancel_reason);
    error.compact_revision_ = compact_revision();
    return error;
  }
  // Whole revisions, in order; only fragments may divide one.
  Span<Event> events() const noexcept {
    return {reinterpret_cast<const Event *>(view_->events), view_->event_count};
  }
  void *watch_data() const noexcept { return view_->watch_data; }
  // Keeps the response and the log bytes its events point to, beyond stream and store.
  class Response retain() const;

 protected:
  bool has(std::uint32_t flag) const noexcept { return (view_->flags & flag) != 0; }
  const watch_response *view_ = nullptr;
};
static_assert(std::is_standard_layout_v<ResponseView> && std::is_trivially_copyable_v<ResponseView> &&
              sizeof(ResponseView) == sizeof(const watch_response *) &&
              alignof(ResponseView) == alignof(const watch_response *));

// An owned response: a copy shares it, the last one gives the log bytes back.
class Response : public ResponseView {
 public:
  Response() = default;
  explicit Response(ResponseView view) noexcept : pin_(watch_response_retain(view.get())) {
    view_ = pin_.get();
  }
  Response(const Response &other) noexcept : ResponseView(), pin_(other.pin_) { view_ = pin_.get(); }
  Response(Response &&other) noexcept
      : ResponseView(std::exchange(other.view_, nullptr)), pin_(std::move(other.pin_)) {}
  Response &operator=(Response other) noexcept {
    std::swap(view_, other.view_);
    std::swap(pin_, other.pin_);
    return *this;
  }

 private:
  detail::Ref<watch_response, watch_response_retain, watch_response_release> pin_;
};

inline Response ResponseView::retain() const { return Response(*this); }

// The owned outcome of an operation: a copy shares it, the last one gives the log bytes back. Its keys and
// values point into the log and live as long.
class ResultView {
 public:
  class List;
  ResultView() = default;
  // Takes over one reference, as the full forms of watch.h return it.
  static ResultView adopt(const watch_result *owned) noexcept { return ResultView(Root(owned), owned); }
  const watch_result *get() const noexcept { return view_; }
  std::uint32_t op() const noexcept { return view_->op; }                 // WATCH_OP_* that made it
  std::int64_t revision() const noexcept { return view_->revision; }      // the store's after the operation
  std::int64_t count() const noexcept { return view_->count; }            // etcd 14.4; deletes: keys deleted
  bool more() const noexcept { return has(WATCH_RESULT_MORE); }           // the limit cut the range
  bool succeeded() const noexcept { return has(WATCH_RESULT_SUCCEEDED); }  // the compares of a txn held
  // Range: the keys. Put and delete: the previous ones, if asked for.
  Span<KeyValue> kvs() const noexcept {
    return {reinterpret_cast<const KeyValue *>(view_->kvs), view_->kv_count};
  }
  // The first of kvs, or nullptr: what a get found, what a put replaced.
  const KeyValue *kv() const noexcept { return kvs().empty() ? nullptr : kvs().begin(); }
  // Txn: one per executed operation, in order. Each item shares this result.
  List results() const noexcept;

 private:
  using Root = detail::Ref<watch_result, watch_result_retain, watch_result_release>;
  ResultView(Root root, const watch_result *view) noexcept : root_(std::move(root)), view_(view) {}
  bool has(std::uint32_t flag) const noexcept { return (view_->flags & flag) != 0; }
  Root root_;
  const watch_result *view_ = nullptr;
};

// The results of a transaction's operations; items are made on access.
class ResultView::List {
 public:
  class Iterator {
   public:
    Iterator(const List *list, std::size_t i) noexcept : list_(list), i_(i) {}
    ResultView operator*() const noexcept { return (*list_)[i_]; }
    Iterator &operator++() noexcept {
      ++i_;
      return *this;
    }
    bool operator!=(const Iterator &other) const noexcept { return i_ != other.i_; }

   private:
    const List *list_;
    std::size_t i_;
  };
  explicit List(ResultView parent) noexcept : parent_(std::move(parent)) {}
  std::size_t size() const noexcept { return parent_.get()->result_count; }
  ResultView operator[](std::size_t i) const noexcept {
    return ResultView(parent_.root_, parent_.get()->results[i]);
  }
  Iterator begin() const noexcept { return {this, 0}; }
  Iterator end() const noexcept { return {this, size()}; }

 private:
  ResultView parent_;
};

inline ResultView::List ResultView::results() const noexcept { return List(*this); }

}  // namespace watch
#endif  // WATCH_DATA_HPP
