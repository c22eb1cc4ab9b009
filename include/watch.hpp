// watch.hpp - libwatch for C++17 and later: a thin, header-only layer over watch.h, whose contract it keeps.
//
// Every call answers a Result or a Status; nothing is thrown except std::bad_alloc and what Result::value is
// asked to throw, so the header also serves programs built with -fno-exceptions and -fno-rtti (there `value`
// does not exist). All units of one program must agree on that choice.
//
// Ownership: Store, Stream, Response and ResultView release in their destructors; ResponseView, KeyValue,
// Event and every string_view borrow. Text in is borrowed for the call; only KeyRange and Txn keep copies. A
// moved-from object may be assigned to or destroyed; a call on a moved-from Store or Stream gets
// WATCH_ERR_INVALID_ARGUMENT.
//
// Where a comment says nothing else, a call may be made from any thread and does not block. "Err" lists the
// statuses to expect beside those of bad arguments. Revisions, watch ids and their meaning are etcd's.
// Timeouts are in milliseconds, sizes in bytes.
#ifndef WATCH_HPP
#define WATCH_HPP

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include "watch_data.hpp"
#include "watch_txn.hpp"

namespace watch {

// How a watch is created; the defaults are: from now on, every event, nothing else.
struct WatchOptions {
  std::int64_t start_revision = 0;         // 0: from now on; else history from there, inclusive (etcd 3.3)
  std::int64_t watch_id = WATCH_ID_AUTO;   // or a positive one that is not in use on the stream
  bool prev_kv = false;                    // each event brings the key as it was before
  bool progress_notify = false;            // periodic progress responses (etcd 12.2)
  bool fragment = false;                   // large responses in parts (etcd 13.1)
  bool created_notify = false;             // a created response before anything else
  bool no_put = false, no_delete = false;  // filters (etcd 6.1)
  void *watch_data = nullptr;              // borrowed; handed back in each response of this watch
};

// How responses of a stream are cut; 0 is the library's default. A revision is never divided.
struct StreamOptions {
  std::uint32_t batch_revisions = 0;  // most revisions in one response
  std::uint64_t batch_bytes = 0;      // keys and values after which a response is cut
};

namespace detail {

// The function of a callback, owned by the library from the moment of the registering call.
using ResponseFunction = std::function<watch_status(const ResponseView &)>;
using LogFunction = std::function<void(std::uint32_t, std::string_view)>;

inline watch_status on_response(void *user_data, watch_stream *, const watch_response *response) noexcept {
#ifdef __cpp_exceptions
  try {
    return (*static_cast<ResponseFunction *>(user_data))(ResponseView(response));
  } catch (...) {
    return WATCH_ERR_PANIC;
  }
#else
  return (*static_cast<ResponseFunction *>(user_data))(ResponseView(response));
#endif
}
inline void on_log(void *user_data, std::uint32_t level, const char *message) noexcept {
#ifdef __cpp_exceptions
  try {
    (*static_cast<LogFunction *>(user_data))(level, message);
  } catch (...) {  // a log line is not worth a program
  }
#else
  (*static_cast<LogFunction *>(user_data))(level, message);
#endif
}
template <class Function>
void destroy(void *user_data) noexcept {
  delete static_cast<Function *>(user_data);
}

}  // namespace detail

// Many watches and one ordered series of responses. Move-only; the destructor closes: it waits for a running
// callback, except from inside that callback, and no other thread may be in a call on this stream then.
class Stream {
 public:
  Stream() = default;
  // Answers the watch id. Also from a callback. Err: EMPTY_RANGE DUPLICATE_WATCH_ID LIMIT CLOSED
  Result<std::int64_t> create(const KeyRange &range, const WatchOptions &options = {}) {
    auto r = detail::init<watch_create_request>();
    r.key = detail::bytes(range.key);
    r.range_end = detail::bytes(range.range_end);
    r.start_revision = options.start_revision;
    r.watch_id = options.watch_id;
    r.flags = detail::flag(options.prev_kv, WATCH_CREATE_PREV_KV) |
              detail::flag(options.progress_notify, WATCH_CREATE_PROGRESS_NOTIFY) |
              detail::flag(options.fragment, WATCH_CREATE_FRAGMENT) |
              detail::flag(options.created_notify, WATCH_CREATE_CREATED_NOTIFY);
    r.filters = detail::flag(options.no_put, WATCH_FILTER_NOPUT) |
                detail::flag(options.no_delete, WATCH_FILTER_NODELETE);
    r.watch_data = options.watch_data;
    std::int64_t watch_id = 0;
    const watch_status status = watch_stream_create(get(), &r, &watch_id);
    if (status < 0) return Error::last(status);
    return watch_id;
  }
  // One canceled response follows, then nothing of this watch. Err: WATCH_NOT_FOUND CLOSED
  Status cancel(std::int64_t watch_id) { return detail::check(watch_stream_cancel(get(), watch_id)); }
  // Answered by one progress response as soon as every watch has caught up. Err: LIMIT CLOSED
  Status request_progress() { return detail::check(watch_stream_request_progress(get())); }
  // Poll mode; nullopt: nothing within the timeout (0: do not wait, negative: no limit).
  // Thr: one consumer at a time. Blk: up to the timeout. Err: CLOSED BUSY INVALID_STATE
  Result<std::optional<ResponseView>> next(std::int64_t timeout_ms = -1) {
    const watch_response *response = nullptr;
    const watch_status status = watch_stream_next(get(), timeout_ms, &response);
    if (status < 0) return Error::last(status);
    if (status == WATCH_AGAIN) return std::optional<ResponseView>();
    return std::optional<ResponseView>(ResponseView(response));
  }
  // As next, but fills `buffer` with what is ready, up to `capacity`, and answers that part of it; empty:
  // nothing within the timeout. All of them are valid until the next call. Thr, Blk, Err: as next.
  Result<Span<ResponseView>> next_batch(ResponseView *buffer, std::size_t capacity,
                                        std::int64_t timeout_ms = -1) {
    std::size_t count = 0;
    const watch_status status = watch_stream_next_batch(
        get(), timeout_ms, reinterpret_cast<const watch_response **>(buffer), capacity, &count);
    if (status < 0) return Error::last(status);
    return Span<ResponseView>(buffer, count);
  }
  // Readable exactly while a response is queued or the stream has ended; -1 where there is none. Only poll
  // it: it belongs to the stream. Err (Error::last): INVALID_STATE CLOSED IO
  int fd() { return watch_stream_fd(get()); }
  // Wakes the consumer with CLOSED and stops the callbacks. May be repeated.
  void shutdown() noexcept { static_cast<void>(watch_stream_shutdown(get())); }
  // Closes now, as the destructor does; what is borrowed from the stream ends with it.
  void close() noexcept { handle_.reset(); }
  watch_stream *get() const noexcept { return handle_.get(); }

 private:
  friend class Store;
  explicit Stream(watch_stream *stream) noexcept : handle_(stream) {}
  struct Close {
    void operator()(watch_stream *stream) const noexcept { watch_stream_close(stream); }
  };
  std::unique_ptr<watch_stream, Close> handle_;
};

// A store. Move-only; the destructor closes, but only close() can report the last sync. Streams and owned
// results may outlive it.
class Store {
 public:
  // The store in the directory `path`; without options it must exist: WATCH_OPEN_CREATE makes one.
  // Blk: recovery. Err: IO NO_SPACE LOCKED CORRUPT FORMAT FILESYSTEM LIMIT UNSUPPORTED ABI_MISMATCH
  static Result<Store> open(const char *path, const watch_store_options *options = nullptr) {
    if (watch_check_version() != WATCH_OK) {
      return Error(WATCH_ERR_ABI_MISMATCH, std::string("the library is libwatch ") + watch_version_string() +
                                               ", the program was compiled for another one");
    }
    watch_store *store = nullptr;
    const watch_status status = watch_store_open(path, options, &store);
    if (status < 0) return Error::last(status);
    return Store(store);
  }
  // A store without files; everything else behaves the same. Err: LIMIT UNSUPPORTED ABI_MISMATCH
  static Result<Store> memory(const watch_store_options *options = nullptr) {
    auto o = options != nullptr ? *options : detail::init<watch_store_options>();
    o.flags |= WATCH_OPEN_MEMORY;
    return open("", &o);
  }
  // Ends every stream and syncs; the store is gone whatever it answers. Blk: running writes and callbacks,
  // the sync. Err: IO NO_SPACE POISONED
  Status close() { return detail::check(watch_store_close(handle_.release())); }

  // Answers the revision. Blk: the writer lock, and the sync in WATCH_DURABILITY_COMMIT; so do all writes.
  // Err: EMPTY_KEY LIMIT READ_ONLY CLOSED IO NO_SPACE POISONED
  Result<std::int64_t> put(std::string_view key, std::string_view value) {
    std::int64_t revision = 0;
    const auto status = watch_store_put(handle(), detail::bytes(key), detail::bytes(value), &revision);
    if (status < 0) return Error::last(status);
    return revision;
  }
  // Err: as put, and KEY_NOT_FOUND for ignore_value and ignore_lease
  Result<ResultView> put_with(std::string_view key, std::string_view value, const PutOptions &options) {
    watch_put_request r = detail::request(options);
    r.key = detail::bytes(key);
    r.value = detail::bytes(value);
    return result(watch_store_put_with, &r);
  }
  // The key as it was at `revision` (0: now), in kv(); nullopt if it did not exist.
  // Err: EMPTY_KEY COMPACTED FUTURE_REVISION CLOSED
  Result<std::optional<ResultView>> get(std::string_view key, std::int64_t revision = 0) {
    const watch_result *found = nullptr;
    const watch_status status = watch_store_get(handle(), detail::bytes(key), revision, &found);
    if (status < 0) return Error::last(status);
    ResultView view = ResultView::adopt(found);
    if (view.get() == nullptr || view.kv() == nullptr) return std::optional<ResultView>();
    return std::optional<ResultView>(std::move(view));
  }
  // Keys in byte order at `revision` (0: now), at most `limit` (0: all). Err: as get
  Result<ResultView> range(const KeyRange &range, std::int64_t revision = 0, std::int64_t limit = 0) {
    RangeOptions options;
    options.revision = revision;
    options.limit = limit;
    return this->range(range, options);
  }
  Result<ResultView> range(const KeyRange &range, const RangeOptions &options) {
    watch_range_request r = detail::request(options);
    r.key = detail::bytes(range.key);
    r.range_end = detail::bytes(range.range_end);
    return result(watch_store_range, &r);
  }
  // Answers how many keys were deleted; none is no error and no revision (etcd 1.3). Err: as put
  Result<std::int64_t> erase(const KeyRange &range) {
    std::int64_t deleted = 0;
    const auto status = watch_store_delete(handle(), detail::bytes(range.key), detail::bytes(range.range_end),
                                           &deleted, nullptr);
    if (status < 0) return Error::last(status);
    return deleted;
  }
  // As erase; kvs() of the result are the keys as they were before, if `prev_kv`.
  Result<ResultView> erase_with(const KeyRange &range, bool prev_kv) {
    watch_delete_range_request r = detail::delete_request(prev_kv);
    r.key = detail::bytes(range.key);
    r.range_end = detail::bytes(range.range_end);
    return result(watch_store_delete_with, &r);
  }
  // Which branch ran is succeeded(), its outcomes are results().
  // Err: as put, and DUPLICATE_KEY KEY_NOT_FOUND COMPACTED FUTURE_REVISION; then nothing was changed
  Result<ResultView> commit(const Txn &txn) {
    const Txn::Lowered lowered(txn);
    return result(watch_store_txn, lowered.get());
  }
  // History below `revision` is gone from now on (etcd 10.1-10.4). Blk: the sync; physical: until the space
  // is given back. Err: COMPACTED FUTURE_REVISION READ_ONLY CLOSED IO
  Status compact(std::int64_t revision, bool physical = false) {
    const std::uint32_t flags = detail::flag(physical, WATCH_COMPACT_PHYSICAL);
    return detail::check(watch_store_compact(handle(), revision, flags));
  }
  // Waits until everything up to `revision` (0: up to now) is on disk. Blk: yes. Err: IO POISONED CLOSED
  Status sync(std::int64_t revision = 0) { return detail::check(watch_store_sync(handle(), revision)); }

  // The newest revision, 1 for an empty store (etcd 1.2).
  std::int64_t revision() const noexcept { return watch_store_revision(handle()); }
  // The oldest revision that can be read, -1 before the first compaction.
  std::int64_t compact_revision() const noexcept { return watch_store_compact_revision(handle()); }
  // The newest revision that is on disk.
  std::int64_t durable_revision() const noexcept { return watch_store_durable_revision(handle()); }
  Result<watch_store_stats> stats() {
    auto stats = detail::init<watch_store_stats>();
    const watch_status status = watch_store_stats_read(handle(), &stats);
    if (status < 0) return Error::last(status);
    return stats;
  }

  // Copies the store as it is now to a store of its own in the new directory `path`, while everything goes on.
  // The copy is a fork: its first writer goes on at fork_revision, far above this store. Blk: writes and checks
  // the copy. Err: IO NO_SPACE CORRUPT CLOSED; then nothing is at `path`
  Result<watch_backup_report> backup(const std::string &path) {
    auto report = detail::init<watch_backup_report>();
    const watch_status status = watch_store_backup(handle(), path.c_str(), &report);
    if (status < 0) return Error::last(status);
    return report;
  }

  // Poll mode: responses are taken with Stream::next. Err: LIMIT CLOSED
  Result<Stream> stream(const StreamOptions &options = {}) { return open_stream(options, nullptr); }
  // Callback mode: `function` gets each response, one at a time, on a thread of the library without its
  // locks; it may call everything, also destroy the stream. It answers WATCH_OK: taken; WATCH_AGAIN: offer it
  // again later and hold back this watch only; a negative status: cancel the watch with it. A throw cancels
  // the watch with WATCH_ERR_PANIC. A requested progress belongs to no watch, so nothing is canceled by the
  // answer to it. The function is destroyed exactly once: after its last call, or if this call fails.
  Result<Stream> stream(std::function<watch_status(const ResponseView &)> function,
                        const StreamOptions &options = {}) {
    if (!function) return Error(WATCH_ERR_INVALID_ARGUMENT, "the function of the stream is empty");
    auto *owned = new (std::nothrow) detail::ResponseFunction(std::move(function));
    if (owned == nullptr) return Error(WATCH_ERR_NO_MEMORY);
    return open_stream(options, owned);
  }
  watch_store *handle() const noexcept { return handle_.get(); }

 private:
  explicit Store(watch_store *store) noexcept : handle_(store) {}
  template <class Request>
  Result<ResultView> result(watch_status (*call)(watch_store *, const Request *, const watch_result **),
                            const Request *request) {
    const watch_result *owned = nullptr;
    const watch_status status = call(handle(), request, &owned);
    if (status < 0) return Error::last(status);
    return ResultView::adopt(owned);
  }
  Result<Stream> open_stream(const StreamOptions &options, detail::ResponseFunction *function) {
    auto o = detail::init<watch_stream_options>();
    o.batch_revisions = options.batch_revisions;
    o.batch_bytes = options.batch_bytes;
    if (function != nullptr) {
      o.on_response = detail::on_response;
      o.user_data = function;
      o.destroy = detail::destroy<detail::ResponseFunction>;
    }
    watch_stream *stream = nullptr;
    const watch_status status = watch_stream_open(handle(), &o, &stream);
    if (status < 0) return Error::last(status);
    return Stream(stream);
  }
  struct Close {
    void operator()(watch_store *store) const noexcept { static_cast<void>(watch_store_close(store)); }
  };
  std::unique_ptr<watch_store, Close> handle_;
};

// Checks the closed store in the directory `path` and changes nothing. Blk: reads all of it twice.
// Err: CORRUPT with file and offset in the message, FORMAT, LOCKED, IO
inline Result<watch_verify_report> verify(const std::string &path) {
  auto report = detail::init<watch_verify_report>();
  const watch_status status = watch_verify(path.c_str(), &report);
  if (status < 0) return Error::last(status);
  return report;
}

// Sends the library's log lines up to `level_max` (WATCH_LOG_*) to `function`, from any thread, also from
// several at once. Replaces the one before, process-wide; an empty one is silence. A throw is swallowed.
inline Status set_log(std::uint32_t level_max,
                      std::function<void(std::uint32_t, std::string_view)> function) {
  if (!function) return detail::check(watch_log_set(level_max, nullptr, nullptr, nullptr));
  auto *owned = new (std::nothrow) detail::LogFunction(std::move(function));
  if (owned == nullptr) return Error(WATCH_ERR_NO_MEMORY);
  return detail::check(watch_log_set(level_max, detail::on_log, owned, detail::destroy<detail::LogFunction>));
}

}  // namespace watch
#endif  // WATCH_HPP
