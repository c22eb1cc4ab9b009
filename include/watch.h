/* watch.h - libwatch C API. Generated from bindings/c/src, not to be edited.
 *
 * Words used in every function comment:
 *   Own   who owns what after the call       Thr  which threads may call it at the same time
 *   Blk   whether it can block               Err  the statuses beside WATCH_OK
 *
 * Four kinds of struct, and each kind has one way to grow:
 *   handle    opaque; may change freely.
 *   request   caller memory, passed by pointer; first member `size`; all-zero means default; grows at
 *             the tail. An older library accepts a longer request if the part it does not know is zero,
 *             otherwise it answers WATCH_ERR_UNSUPPORTED. Set up with WATCH_INIT(&request).
 *   view      library memory, reached through a const pointer; first member `size`; grows at the tail.
 *             Test a newer member with WATCH_HAS before reading it.
 *   element   passed by value or stored in arrays; frozen within one WATCH_ABI_VERSION; reserved
 *             members must be zero.
 *
 * Enumerations never cross the boundary as C enums: members and parameters are fixed-width integers,
 * so an unknown number is an error and not undefined behaviour: WATCH_ERR_INVALID_ARGUMENT for a number,
 * WATCH_ERR_UNSUPPORTED for a flag bit.
 *
 * Rules that hold everywhere:
 *   Results   are written only when the answer is not negative.
 *   Bytes in  are borrowed for the call. Bytes out point into the mapped log and live as long as the result
 *             or response they came from; they may be read from any thread.
 *   NULL      is checked everywhere. close and release of NULL do nothing; NULL options are all zero; a NULL
 *             with length 0 is an empty string.
 *   Late      calls on a closed handle answer WATCH_ERR_CLOSED as long as its memory has not been given to
 *             another handle. They are a bug all the same.
 *   Panics    of the library are contained and answer WATCH_ERR_PANIC. Callbacks must not unwind or longjmp.
 *   fork      A handle is of no use in a child process: WATCH_ERR_FORKED.
 *   Silence   The library writes nothing to stdout or stderr and installs no signal handler.
 */
#ifndef WATCH_H
#define WATCH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/** Release that this header belongs to. */
#define WATCH_VERSION_MAJOR 0
#define WATCH_VERSION_MINOR 1
#define WATCH_VERSION_PATCH 0
#define WATCH_VERSION_NUMBER \
  (WATCH_VERSION_MAJOR * 1000000 + WATCH_VERSION_MINOR * 1000 + WATCH_VERSION_PATCH)
/** equals the SONAME number */
#define WATCH_ABI_VERSION 1

/** Sets a request up: all zero, and its size. */
#define WATCH_INIT(request) \
  ((void)memset((request), 0, sizeof *(request)), (void)((request)->size = sizeof *(request)))
/** Whether a view of the running library has a member that this header knows. */
#define WATCH_HAS(type, view, member) \
  ((view)->size >= offsetof(type, member) + sizeof((view)->member))

#ifdef __cplusplus
extern "C" {
#endif

/* ---- status ------------------------------------------------------------------------------------ */

/** The answer of nearly every call: 0 done; > 0 done, with news; < 0 failed. Numbers are never reused. */
typedef int32_t watch_status;

/** The numbers of watch_status. */
enum {
  WATCH_OK = 0,
  WATCH_AGAIN = 1, /**< nothing was ready within the timeout; answered by a callback: not now */

  /* the call itself was wrong */
  WATCH_ERR_INVALID_ARGUMENT = -1, /**< an argument has a value that no call accepts */
  WATCH_ERR_INVALID_STATE = -2, /**< e.g. next on a callback stream */
  WATCH_ERR_UNSUPPORTED = -3, /**< unknown flag, or a newer request member was set */
  WATCH_ERR_ABI_MISMATCH = -4, /**< header and library do not fit together */
  WATCH_ERR_CLOSED = -5, /**< the store or stream was closed */
  WATCH_ERR_BUSY = -6, /**< a second consumer on one stream */
  WATCH_ERR_LIMIT = -7, /**< a bound from docs/limits was exceeded */

  /* outcomes etcd defines */
  WATCH_ERR_COMPACTED = -20, /**< the revision is below the compaction */
  WATCH_ERR_FUTURE_REVISION = -21, /**< the revision has not been written yet */
  WATCH_ERR_EMPTY_KEY = -22, /**< the key is empty */
  WATCH_ERR_EMPTY_RANGE = -23, /**< range_end is not above key */
  WATCH_ERR_KEY_NOT_FOUND = -24, /**< IGNORE_VALUE or IGNORE_LEASE on a key that does not exist */
  WATCH_ERR_DUPLICATE_KEY = -25, /**< one transaction would change a key twice */
  WATCH_ERR_DUPLICATE_WATCH_ID = -26, /**< the chosen watch_id is in use on this stream */
  WATCH_ERR_WATCH_NOT_FOUND = -27, /**< no live watch of this stream has this id */

  /* the storage */
  WATCH_ERR_IO = -40, /**< the operating system refused; see os_error */
  WATCH_ERR_NO_SPACE = -41, /**< the disk or quota is full; nothing was changed */
  WATCH_ERR_CORRUPT = -42, /**< bytes on disk are not what was written */
  WATCH_ERR_LOCKED = -43, /**< another opener holds the store */
  WATCH_ERR_READ_ONLY = -44, /**< the store was opened read-only */
  WATCH_ERR_FORMAT = -45, /**< the files are of another format version */
  WATCH_ERR_POISONED = -46, /**< an earlier write or sync failed; reopen the store */
  WATCH_ERR_FILESYSTEM = -47, /**< a filesystem on which mmap or locks cannot be trusted */

  /* the process */
  WATCH_ERR_NO_MEMORY = -60, /**< the system has no memory for this call */
  WATCH_ERR_PANIC = -61, /**< an internal error was contained; the message says where */
  WATCH_ERR_FORKED = -62, /**< the handle was opened before a fork(); open again in the child */
};

/** request (filled in by the library) */
typedef struct watch_error_info {
  size_t size;
  watch_status status;
  int32_t os_error; /**< errno, or 0 */
  int64_t compact_revision; /**< for COMPACTED: the oldest revision that can be asked for; else 0 */
  int64_t current_revision; /**< for FUTURE_REVISION: the newest revision; else 0 */
  const char *message; /**< one line, NUL-terminated, never NULL; until this thread's next failure */
} watch_error_info;

/** The name of a status, such as "WATCH_ERR_COMPACTED"; "WATCH_ERR_UNKNOWN" for a number without a name.
 * Own: static, never NULL. Thr: any. Blk: no */
const char *watch_status_name(watch_status status);

/** One general sentence about a status; watch_last_error has the line about the call that failed.
 * Own: static, never NULL. Thr: any. Blk: no */
const char *watch_status_message(watch_status status);

/** The message of this thread's last failure: one line that names the thing, "" if nothing failed yet. A
 * call that succeeds leaves it alone, so look at it only after a negative status.
 * Own: until this thread's next failure; never NULL. Thr: any. Blk: no */
const char *watch_last_error(void);

/** Fills in what is known about this thread's last failure; status is WATCH_OK if nothing failed yet.
 * Own: info->message as watch_last_error. Thr: any. Blk: no. Err: INVALID_ARGUMENT UNSUPPORTED */
watch_status watch_last_error_info(watch_error_info *info);

/* ---- version ------------------------------------------------------------------------------------ */

/** Bits of watch_features. */
enum {
  WATCH_FEATURE_FD = 1 << 0, /**< watch_stream_fd gives a file descriptor */
  WATCH_FEATURE_DIRECT_SYNC = 1 << 1, /**< commits can go to disk without a separate sync */
};

/** The release of the library that runs, as WATCH_VERSION_NUMBER counts it.
 * Thr: any. Blk: no */
uint32_t watch_version_number(void);

/** The release of the library that runs, such as "0.1.0".
 * Own: static. Thr: any. Blk: no */
const char *watch_version_string(void);

/** The ABI number of the library that runs; another number than WATCH_ABI_VERSION means another library.
 * Thr: any. Blk: no */
uint32_t watch_abi_version(void);

/** The WATCH_FEATURE_* bits of this build. Features never change the header.
 * Thr: any. Blk: no */
uint64_t watch_features(void);

/** Release, target and profile of this build, for a bug report: one line, not to be parsed.
 * Own: static. Thr: any. Blk: no */
const char *watch_build_info(void);

/** Header against library: WATCH_ERR_ABI_MISMATCH if a program runs with a library it was not made for. */
static inline watch_status watch_check_version(void) {
  return watch_abi_version() == WATCH_ABI_VERSION && watch_version_number() >= WATCH_VERSION_NUMBER
             ? WATCH_OK
             : WATCH_ERR_ABI_MISMATCH;
}

/* ---- plain data --------------------------------------------------------------------------------- */

/** element: borrowed, not NUL-terminated; data may be NULL if len is 0 */
typedef struct watch_bytes {
  const uint8_t *data;
  size_t len;
} watch_bytes;

/** element: one key as it was at one revision; 64 bytes on 64-bit targets */
typedef struct watch_kv {
  watch_bytes key;
  watch_bytes value;
  int64_t create_revision;
  int64_t mod_revision;
  int64_t version;
  int64_t lease; /**< carried, never interpreted */
} watch_kv;

/** Kinds of events. */
enum {
  WATCH_EVENT_PUT = 0,
  WATCH_EVENT_DELETE = 1,
};

/** element: one change of one key; 80 bytes on 64-bit targets */
typedef struct watch_event {
  watch_kv kv; /**< DELETE: only key and mod_revision are set */
  const watch_kv *prev_kv; /**< NULL unless asked for and still available */
  uint32_t type; /**< WATCH_EVENT_* */
  uint32_t reserved;
} watch_event;

/** The span of len bytes at data. */
static inline watch_bytes watch_bytes_of(const void *data, size_t len) {
  watch_bytes b;
  b.data = (const uint8_t *)data;
  b.len = len;
  return b;
}
/** The span of a string, without its NUL. */
static inline watch_bytes watch_bytes_str(const char *text) {
  return watch_bytes_of(text, strlen(text));
}

/* range_end as in etcd: empty = the single key; "\0" = every key >= key; else the half-open range. */

/** Writes into buf the range_end that makes prefix a prefix range, and points *range_end there. buf has
 * room for prefix.len bytes, at least 1; it may be the prefix's own memory. A prefix that is empty or of
 * 0xff bytes alone gives "\0": every key from key on.
 * Own: *range_end points into buf. Thr: any. Blk: no. Err: INVALID_ARGUMENT */
watch_status watch_prefix_end(watch_bytes prefix, uint8_t *buf, size_t buf_len, watch_bytes *range_end);

/* ---- user data ---------------------------------------------------------------------------------- */

/* Wherever a callback is given, three things come together, in this order: function, user_data, destroy.
 * destroy may be NULL. It runs exactly once, after the last callback has returned, and also when the
 * registering call fails: user_data belongs to the library from the moment of the call. Only a request whose
 * size cannot be one, or that ends before destroy, is not looked into. */

/** Ends user_data. Runs exactly once, on any thread, with no lock of the library held. */
typedef void (*watch_destroy_fn)(void *user_data);

/* ---- store -------------------------------------------------------------------------------------- */

/** handle: a store; every function may be called from any thread, also from callbacks */
typedef struct watch_store watch_store;

/** watch_store_options.flags */
enum {
  WATCH_OPEN_CREATE = 1 << 0, /**< make the store if there is none */
  WATCH_OPEN_READ_ONLY = 1 << 1, /**< refuse every write; the store must exist */
  WATCH_OPEN_MEMORY = 1 << 2, /**< no files: path is ignored; everything else behaves the same */
};

/** what a write has survived when it returns, and when readers and watches may see it */
enum {
  WATCH_DURABILITY_DEFAULT = 0, /**< COMMIT */
  WATCH_DURABILITY_NONE = 1, /**< any crash of this process; written back by the kernel */
  WATCH_DURABILITY_INTERVAL = 2, /**< the same, and synced every sync_interval_ms */
  /** power loss: on disk before anyone sees it; concurrent commits share a sync */
  WATCH_DURABILITY_COMMIT = 3,
};

/** request: how to open a store; 0 = the default, in each member */
typedef struct watch_store_options {
  size_t size;
  uint32_t flags; /**< WATCH_OPEN_* */
  uint32_t durability; /**< WATCH_DURABILITY_* */
  uint64_t segment_bytes; /**< size of one file of the log; 0 = 64 MiB; 64 KiB to 1 GiB */
  uint64_t fragment_bytes; /**< threshold of WATCH_CREATE_FRAGMENT; 0 = 2 MiB */
  uint32_t sync_interval_ms; /**< 0 = 10 */
  uint32_t progress_interval_ms; /**< of WATCH_CREATE_PROGRESS_NOTIFY; 0 = 10 minutes; at least 100 */
  uint32_t txn_ops_max; /**< most operations in one list of a transaction; 0 = 128; up to 65,535 */
  uint32_t dispatch_threads; /**< threads that run response callbacks; 0 = 2; up to 256 */
  /** compact by itself, so that at least so many revisions are kept; 0 = do not */
  int64_t auto_compaction_revisions;
  /** the same by age: keep what is younger, in ms; 0 = do not; 100 to ten years. Only one of the two */
  uint64_t auto_compaction_period_ms;
} watch_store_options;

/** Opens the store in the directory path. NULL options = all zero: an existing store, every default.
 * Own: *store is the caller's until close; it is set only on WATCH_OK. Thr: any.
 * Blk: recovery, which reads what was written since the last checkpoint.
 * Err: INVALID_ARGUMENT UNSUPPORTED LIMIT IO NO_SPACE LOCKED CORRUPT FORMAT FILESYSTEM ABI_MISMATCH */
watch_status watch_store_open(const char *path, const watch_store_options *options, watch_store **store);

/** Ends every stream (their consumers get CLOSED), syncs, and frees the handle whatever it returns.
 * Retained results and responses stay valid: the files are unmapped after the last release. Streams stay
 * the caller's to close. A call on the store that is still running, or that comes too late, answers
 * CLOSED. NULL is fine.
 * Own: store is gone for the caller. Thr: any, also a callback: then running callbacks end after this
 * returns.
 * Blk: running writes, running callbacks, the sync. Err: CLOSED, or what the last sync answered: IO
 * NO_SPACE */
watch_status watch_store_close(watch_store *store);

/** The newest revision that can be seen: 1 for an empty store, 0 for what is not an open store.
 * Thr: any. Blk: no */
int64_t watch_store_revision(const watch_store *store);

/** The oldest revision that can be read and watched from: -1 before the first compaction, 0 for what is
 * not an open store.
 * Thr: any. Blk: no */
int64_t watch_store_compact_revision(const watch_store *store);

/** The newest revision that a power loss cannot take back; 0 for what is not an open store.
 * Thr: any. Blk: no */
int64_t watch_store_durable_revision(const watch_store *store);

/** Waits until everything up to revision is on disk (0 = up to now).
 * Thr: any. Blk: yes. Err: INVALID_ARGUMENT FUTURE_REVISION CLOSED IO NO_SPACE POISONED */
watch_status watch_store_sync(watch_store *store, int64_t revision);

/* ---- operations --------------------------------------------------------------------------------- */

/** request: a put */
typedef struct watch_put_request {
  size_t size;
  watch_bytes key; /**< 1 to 65,535 bytes */
  watch_bytes value; /**< up to 64 MiB; may be empty */
  int64_t lease; /**< carried, never interpreted */
  uint32_t flags; /**< WATCH_PUT_* */
} watch_put_request;

/** Flags of a put. */
enum {
  WATCH_PUT_PREV_KV = 1 << 0, /**< the result carries the pair as it was before */
  WATCH_PUT_IGNORE_VALUE = 1 << 1, /**< keep the value; value must be empty and the key must exist */
  WATCH_PUT_IGNORE_LEASE = 1 << 2, /**< keep the lease; lease must be 0 and the key must exist */
};

/** request: a read of one key or a range */
typedef struct watch_range_request {
  size_t size;
  watch_bytes key;
  watch_bytes range_end;
  int64_t revision; /**< 0 = now */
  int64_t limit; /**< most keys to return; 0 = none */
  int64_t min_mod_revision; /**< leave out keys last changed before; 0 = no bound, here and below */
  int64_t max_mod_revision; /**< leave out keys last changed after */
  int64_t min_create_revision; /**< leave out keys created before */
  int64_t max_create_revision; /**< leave out keys created after */
  uint32_t sort_target; /**< WATCH_SORT_* */
  uint32_t sort_order; /**< WATCH_ORDER_* */
  uint32_t flags; /**< WATCH_RANGE_* */
} watch_range_request;

/** Flags of a range. */
enum {
  WATCH_RANGE_KEYS_ONLY = 1 << 0, /**< values come back empty */
  WATCH_RANGE_COUNT_ONLY = 1 << 1, /**< only count comes back */
};

/** What a range is sorted by. */
enum {
  WATCH_SORT_KEY = 0,
  WATCH_SORT_VERSION = 1,
  WATCH_SORT_CREATE = 2,
  WATCH_SORT_MOD = 3,
  WATCH_SORT_VALUE = 4,
};

/** Which way a range is sorted. NONE: by key, and another target than the key ascending. */
enum {
  WATCH_ORDER_NONE = 0,
  WATCH_ORDER_ASCEND = 1,
  WATCH_ORDER_DESCEND = 2,
};

/** request: a delete of one key or a range */
typedef struct watch_delete_range_request {
  size_t size;
  watch_bytes key;
  watch_bytes range_end;
  uint32_t flags; /**< WATCH_DELETE_* */
} watch_delete_range_request;

/** Flags of a delete. */
enum {
  WATCH_DELETE_PREV_KV = 1 << 0, /**< the result carries the pairs as they were before */
};

/** What a compare looks at. An absent key has 0 everywhere and no value: no compare of VALUE holds for it. */
enum {
  WATCH_COMPARE_VERSION = 0,
  WATCH_COMPARE_CREATE = 1,
  WATCH_COMPARE_MOD = 2,
  WATCH_COMPARE_VALUE = 3,
  WATCH_COMPARE_LEASE = 4,
};

/** How the stored must relate to the given. */
enum {
  WATCH_EQUAL = 0,
  WATCH_GREATER = 1,
  WATCH_LESS = 2,
  WATCH_NOT_EQUAL = 3,
};

/** element: one condition of a transaction; with a range_end every key of the range must pass */
typedef struct watch_compare {
  uint32_t target; /**< WATCH_COMPARE_* */
  uint32_t result; /**< WATCH_EQUAL ... */
  watch_bytes key;
  watch_bytes range_end;
  watch_bytes value; /**< COMPARE_VALUE */
  int64_t number; /**< every other target */
  uint64_t reserved;
} watch_compare;

/** Kinds of operations. */
enum {
  WATCH_OP_PUT = 1,
  WATCH_OP_RANGE = 2,
  WATCH_OP_DELETE_RANGE = 3,
  WATCH_OP_TXN = 4,
};

/** element: a type and a pointer, so requests can grow without it */
typedef struct watch_op {
  uint32_t type; /**< WATCH_OP_* */
  uint32_t reserved;
  union {
    const watch_put_request *put;
    const watch_range_request *range;
    const watch_delete_range_request *delete_range;
    const struct watch_txn_request *txn;
  } request;
} watch_op;

/** request: if all compares hold, success runs, otherwise failure; as one revision, or not at all */
typedef struct watch_txn_request {
  size_t size;
  const watch_compare *compare;
  size_t compare_count;
  const watch_op *success;
  size_t success_count; /**< up to txn_ops_max of the store, for each list */
  const watch_op *failure;
  size_t failure_count;
} watch_txn_request;

/** view: kvs point into the mapped log and are pinned until release */
typedef struct watch_result {
  size_t size;
  uint32_t op; /**< WATCH_OP_* that made it */
  uint32_t flags; /**< WATCH_RESULT_* */
  int64_t revision; /**< store revision after the operation */
  int64_t count; /**< RANGE: keys in range without the limit; DELETE_RANGE: keys deleted */
  const watch_kv *kvs; /**< RANGE: the keys; PUT, DELETE_RANGE: previous values if asked for */
  size_t kv_count;
  const struct watch_result *const *results; /**< TXN: one per executed operation; part of this one */
  size_t result_count;
} watch_result;

/** watch_result.flags */
enum {
  WATCH_RESULT_MORE = 1 << 0, /**< RANGE: the limit left keys out */
  WATCH_RESULT_SUCCEEDED = 1 << 1, /**< TXN: the compares held */
};

/** Takes one more count of a result, or of the transaction's result that it is a part of, and returns it.
 * Own: the caller's, release it. Thr: any. Blk: no. NULL gives NULL. */
const watch_result *watch_result_retain(const watch_result *result);

/** Gives one count of a result back; with the last one its bytes are unpinned. NULL is fine.
 * Own: result is gone for the caller. Thr: any. Blk: no */
void watch_result_release(const watch_result *result);

/* Short forms. */

/** Sets key to value, without a lease. revision may be NULL; it gets the revision of this put.
 * Thr: any. Blk: the writer lock and, with DURABILITY_COMMIT, the sync.
 * Err: EMPTY_KEY LIMIT INVALID_ARGUMENT READ_ONLY NO_SPACE IO POISONED CLOSED */
watch_status watch_store_put(watch_store *store, watch_bytes key, watch_bytes value, int64_t *revision);

/** Deletes key, or every key of the range. deleted and revision may be NULL. A delete that meets no key
 * makes no revision; *revision is then the newest there is.
 * Thr: any. Blk: as watch_store_put. Err: EMPTY_KEY LIMIT INVALID_ARGUMENT READ_ONLY NO_SPACE IO POISONED
 * CLOSED */
watch_status watch_store_delete(watch_store *store,
                                watch_bytes key,
                                watch_bytes range_end,
                                int64_t *deleted,
                                int64_t *revision);

/** Reads key at a revision (0 = now). An absent key is WATCH_OK with kv_count 0.
 * Own: *result is the caller's, release it; set only on WATCH_OK; result may be NULL where it is not
 * wanted.
 * Thr: any. Blk: no. Err: EMPTY_KEY LIMIT COMPACTED FUTURE_REVISION INVALID_ARGUMENT CORRUPT CLOSED */
watch_status watch_store_get(watch_store *store,
                             watch_bytes key,
                             int64_t revision,
                             const watch_result **result);

/* Full forms. */

/** Puts with every option of the request.
 * Own, Thr: as watch_store_get. Blk: as watch_store_put.
 * Err: as watch_store_put, and KEY_NOT_FOUND UNSUPPORTED */
watch_status watch_store_put_with(watch_store *store,
                                  const watch_put_request *request,
                                  const watch_result **result);

/** Reads the keys of a range at one revision. A range whose end is not above its key is empty.
 * Own, Thr, Blk: as watch_store_get.
 * Err: EMPTY_KEY LIMIT COMPACTED FUTURE_REVISION INVALID_ARGUMENT UNSUPPORTED CORRUPT CLOSED */
watch_status watch_store_range(watch_store *store,
                               const watch_range_request *request,
                               const watch_result **result);

/** Deletes with every option of the request.
 * Own, Thr: as watch_store_get. Blk: as watch_store_put.
 * Err: as watch_store_delete, and UNSUPPORTED */
watch_status watch_store_delete_with(watch_store *store,
                                     const watch_delete_range_request *request,
                                     const watch_result **result);

/** Runs a transaction: if all compares hold the success list, otherwise the failure list. What it changes
 * gets one revision; if any operation is refused nothing is changed.
 * Own, Thr: as watch_store_get. Blk: as watch_store_put.
 * Err: as watch_store_put and watch_store_range, and DUPLICATE_KEY KEY_NOT_FOUND UNSUPPORTED */
watch_status watch_store_txn(watch_store *store,
                             const watch_txn_request *request,
                             const watch_result **result);

/** Flags of a compaction. */
enum {
  WATCH_COMPACT_PHYSICAL = 1 << 0, /**< wait until the space has been given back */
};

/** Forgets the history before revision: reads below it fail from now on, and watches behind it end with
 * COMPACTED. The state at revision itself stays complete. WATCH_COMPACT_PHYSICAL waits for the space to
 * be given back, which otherwise happens later.
 * Thr: any. Blk: the sync of the mark. Err: COMPACTED FUTURE_REVISION UNSUPPORTED READ_ONLY CLOSED IO
 * POISONED */
watch_status watch_store_compact(watch_store *store, int64_t revision, uint32_t flags);

/* ---- watch streams ------------------------------------------------------------------------------ */

/** handle: many watches, one ordered series of responses */
typedef struct watch_stream watch_stream;

/** What a watch_id can be beside the number of a watch. Ids are per stream; assigned ones start at 1. */
enum {
  WATCH_ID_AUTO = 0, /**< in a create request: the stream chooses */
  WATCH_ID_NONE = -1, /**< in a response: no single watch is meant */
};

/** watch_response.flags; no bit set = an ordinary batch of events */
enum {
  WATCH_RESPONSE_CREATED = 1 << 0, /**< the watch exists; sent only if asked for */
  WATCH_RESPONSE_CANCELED = 1 << 1, /**< the last response of this watch_id */
  WATCH_RESPONSE_PROGRESS = 1 << 2, /**< no events; everything up to revision has been delivered */
  WATCH_RESPONSE_FRAGMENT = 1 << 3, /**< more of the same response follows */
};

/** view: one delivery of one watch */
typedef struct watch_response {
  size_t size;
  int64_t watch_id; /**< WATCH_ID_NONE for the answer to request_progress */
  int64_t revision; /**< the store's, as in etcd's header; NOT a resume point */
  int64_t resume_revision; /**< the start_revision that continues exactly after this; 0 on FRAGMENT */
  int64_t compact_revision; /**< set when canceled by compaction */
  uint32_t flags; /**< WATCH_RESPONSE_* */
  watch_status cancel_status; /**< CANCELED: OK if the user asked, COMPACTED, CLOSED, ... */
  const char *cancel_reason; /**< never NULL */
  const watch_event *events; /**< whole revisions only, in order */
  size_t event_count;
  void *watch_data; /**< from the create request */
} watch_response;

/** Keeps a response, and the log segments its bytes live in, beyond its borrow: also when the stream and
 * the store are closed. Returns the response.
 * Own: the caller's, release it. Thr: any. Blk: no. NULL gives NULL. */
const watch_response *watch_response_retain(const watch_response *response);

/** Gives one retained response back. A response that was only borrowed is left alone. NULL is fine.
 * Own: response is gone for the caller. Thr: any. Blk: no */
void watch_response_release(const watch_response *response);

/** Takes one response of a callback stream; it is borrowed until the function returns. Runs on a thread of
 * the library, one call at a time per stream, with no lock held: it may call every watch_* function, also
 * close its own stream or the store. It must not unwind or longjmp.
 * Answer WATCH_OK: taken. WATCH_AGAIN: not now: the same events are offered again after a short pause,
 * and only this watch is held back. A negative status: cancel this watch with that status. */
typedef watch_status (*watch_response_fn)(void *user_data,
                                          watch_stream *stream,
                                          const watch_response *response);

/** request: how to open a stream */
typedef struct watch_stream_options {
  size_t size;
  uint32_t batch_revisions; /**< most revisions in one response; 0 = 1000 */
  uint32_t flags; /**< none known yet */
  /** a response is cut before it grows past this; a revision is never split; 0 = 1 MiB */
  uint64_t batch_bytes;
  watch_response_fn on_response; /**< NULL = poll mode; set = callback mode. Never both. */
  void *user_data;
  watch_destroy_fn destroy;
} watch_stream_options;

/** watch_create_request.flags */
enum {
  WATCH_CREATE_PREV_KV = 1 << 0, /**< each event carries the pair as it was before */
  /** a PROGRESS response from time to time while there are no events */
  WATCH_CREATE_PROGRESS_NOTIFY = 1 << 1,
  WATCH_CREATE_FRAGMENT = 1 << 2, /**< large responses come in parts, marked FRAGMENT but for the last */
  WATCH_CREATE_CREATED_NOTIFY = 1 << 3, /**< a CREATED response before anything else */
};

/** watch_create_request.filters */
enum {
  WATCH_FILTER_NOPUT = 1 << 0, /**< leave out puts */
  WATCH_FILTER_NODELETE = 1 << 1, /**< leave out deletes */
};

/** request: a watch */
typedef struct watch_create_request {
  size_t size;
  watch_bytes key;
  watch_bytes range_end;
  int64_t start_revision; /**< 0 = from now; history is replayed from here on, inclusive */
  int64_t watch_id; /**< WATCH_ID_AUTO, or one not in use on this stream */
  uint32_t flags; /**< WATCH_CREATE_* */
  uint32_t filters; /**< WATCH_FILTER_* */
  void *watch_data; /**< handed back in each response of this watch */
} watch_create_request;

/** Opens a stream. NULL options = all zero: poll mode, every default.
 * Own: *stream is the caller's until close; it is set only on WATCH_OK, and a callback may have run
 * before. user_data goes to the library, also when the call fails. Thr: any. Blk: no.
 * Err: INVALID_ARGUMENT UNSUPPORTED NO_MEMORY CLOSED */
watch_status watch_stream_open(watch_store *store,
                               const watch_stream_options *options,
                               watch_stream **stream);

/** Creates a watch; *watch_id gets its number (watch_id may be NULL). A refusal is a status, never a
 * response. A key of length 0 stands for the key "\0"; with range_end "\0" that is every key.
 * Thr: any thread, also from a callback of the same stream. Blk: no.
 * Err: COMPACTED only as a response. EMPTY_RANGE DUPLICATE_WATCH_ID INVALID_ARGUMENT UNSUPPORTED LIMIT
 * CLOSED */
watch_status watch_stream_create(watch_stream *stream,
                                 const watch_create_request *request,
                                 int64_t *watch_id);

/** Cancels a watch. Responses that are already queued still come, then one CANCELED; after it nothing of
 * this watch_id follows and the id is free.
 * Thr: any thread, also from a callback of the same stream. Blk: no. Err: WATCH_NOT_FOUND CLOSED */
watch_status watch_stream_cancel(watch_stream *stream, int64_t watch_id);

/** Asks for one PROGRESS response with WATCH_ID_NONE; it comes as soon as every watch of the stream has
 * caught up. Watches that wait for a future revision are not waited for.
 * Thr: any thread, also from a callback of the same stream. Blk: no. Err: LIMIT CLOSED */
watch_status watch_stream_request_progress(watch_stream *stream);

/** Poll mode: takes the next response. timeout_ms: 0 = do not wait, negative = no limit.
 * Own: *response is borrowed until the next call of next, next_batch or close on this stream; retain to
 * keep. It is NULL on WATCH_AGAIN. Thr: one consumer at a time, a second gets BUSY. Blk: up to
 * timeout_ms.
 * Err: AGAIN (nothing within the timeout) CLOSED BUSY INVALID_STATE (a callback stream) INVALID_ARGUMENT */
watch_status watch_stream_next(watch_stream *stream, int64_t timeout_ms, const watch_response **response);

/** Poll mode: waits for the first response and takes with it what is ready, up to capacity.
 * Own: responses[0..*count] as with watch_stream_next. Thr, Blk, Err: as watch_stream_next; *count is 0
 * on WATCH_AGAIN, and a capacity of 0 is INVALID_ARGUMENT. */
watch_status watch_stream_next_batch(watch_stream *stream,
                                     int64_t timeout_ms,
                                     const watch_response **responses,
                                     size_t capacity,
                                     size_t *count);

/** A file descriptor for poll, epoll and event loops: readable exactly while a response is queued or the
 * stream has ended. Made on first use. Only poll it: do not read, write or close it.
 * Own: the stream's, until close. -1 on failure and where WATCH_FEATURE_FD is missing. Thr: any. Blk: no.
 * Err (watch_last_error_info): INVALID_STATE (a callback stream) CLOSED IO */
int watch_stream_fd(watch_stream *stream);

/** Wakes the consumer with CLOSED, stops the callbacks. Idempotent.
 * Thr: any. Blk: no. Err: CLOSED (the handle was closed) INVALID_ARGUMENT */
watch_status watch_stream_shutdown(watch_stream *stream);

/** Shuts down, waits for a running callback, runs destroy, frees. From inside the stream's own callback it
 * returns at once and the rest happens when the callback returns. No other thread may be in a call on
 * this stream (use shutdown first). NULL is fine.
 * Own: stream and what was borrowed from it are gone for the caller. Thr: any. Blk: the running callback */
void watch_stream_close(watch_stream *stream);

/* ---- numbers ------------------------------------------------------------------------------------ */

/** request (filled in by the library) */
typedef struct watch_store_stats {
  size_t size;
  int64_t revision;
  int64_t compact_revision;
  int64_t durable_revision;
  int64_t oldest_watch_revision; /**< the next revision of the watch that is furthest behind; 0 if none */
  uint64_t key_count; /**< Keys in the index: those that exist, and deleted ones whose history is kept. */
  uint64_t log_bytes; /**< on disk */
  uint64_t pinned_bytes; /**< dropped by compaction but still held by a view */
  uint64_t stream_count;
  uint64_t watch_count;
  uint64_t watch_synced_count; /**< watches that wait for the next commit */
  uint64_t watch_unsynced_count; /**< watches that are catching up from the log */
  uint64_t watch_victim_count; /**< watches whose callback answered AGAIN */
  uint64_t put_total; /**< since the store was opened, here and below */
  uint64_t delete_total;
  uint64_t txn_total;
  uint64_t sync_total;
  uint64_t event_delivered_total;
  /** records read for watches: once for all live watches together, and again for those that catch up */
  uint64_t record_read_total;
} watch_store_stats;

/** Fills in the numbers of a store. They are read one after the other, not at one instant.
 * Thr: any. Blk: no. Err: INVALID_ARGUMENT UNSUPPORTED CLOSED */
watch_status watch_store_stats_read(watch_store *store, watch_store_stats *stats);

/* ---- whole stores ------------------------------------------------------------------------------- */

/** request (filled in by the library): what a copy holds */
typedef struct watch_backup_report {
  size_t size;
  int64_t revision; /**< the copy has everything up to this revision */
  /** where the copy is at once it was opened for writing; its next write has the revision after it */
  int64_t fork_revision;
  uint64_t bytes; /**< of log and base */
} watch_backup_report;

/** Copies the store as it is now, in memory or in files, to a store of its own in the new directory path,
 * while reads, writes and watches go on. The copy is checked as by watch_verify before it gets its name; on
 * an error nothing is at path. The copy is a fork: it has an identity of its own, and so that no revision
 * ever names two things its first writer goes on at report->fork_revision, far above the original. To move
 * a store rather than fork it, close it and copy or rename the directory. report may be NULL.
 * Thr: any. Blk: writes and syncs the copy, then reads it twice. Err: IO (also if path exists) NO_SPACE
 * CORRUPT FILESYSTEM CLOSED NO_MEMORY INVALID_ARGUMENT UNSUPPORTED */
watch_status watch_store_backup(watch_store *store, const char *path, watch_backup_report *report);

/** request (filled in by the library): what a sound store holds */
typedef struct watch_verify_report {
  size_t size;
  int64_t revision;
  int64_t compact_revision; /**< -1 before the first compaction */
  uint64_t key_count; /**< keys that exist now */
  uint64_t base_key_count; /**< keys in the base: what compaction kept of the past */
  uint64_t transaction_count; /**< in the log, here and below */
  uint64_t change_count;
  uint64_t bytes; /**< of log and base */
  uint64_t torn_bytes; /**< behind the last record: a crash left them, and the next writer clears them */
  uint32_t segment_count; /**< files */
  uint32_t base_part_count;
  uint32_t manifest_copies; /**< intact copies of the manifest, of four */
  /** 1 if the last writer closed the store, 0 if it crashed, which a sound store survives */
  uint32_t closed;
} watch_verify_report;

/** Checks the closed store in the directory path: every checksum, every number that follows from others,
 * and that an index built anew agrees. Nothing is changed. Damage is CORRUPT, or FORMAT where another
 * version wrote the files; the message names file and offset. report may be NULL; it is filled in on OK.
 * Thr: any. Blk: reads the whole store twice; a second opener gets LOCKED meanwhile.
 * Err: CORRUPT FORMAT LOCKED IO FILESYSTEM NO_MEMORY INVALID_ARGUMENT UNSUPPORTED */
watch_status watch_verify(const char *path, watch_verify_report *report);

/* ---- log ---------------------------------------------------------------------------------------- */

/** How much a log line matters. */
enum {
  WATCH_LOG_ERROR = 1, /**< something failed that nobody called for, or data is at risk */
  WATCH_LOG_WARN = 2, /**< the library goes on, but somebody should know */
  WATCH_LOG_INFO = 3, /**< rare events in a store's life: open, recovery, compaction */
  WATCH_LOG_DEBUG = 4, /**< for those who work on the library */
};

/** Takes one log line, which lives until the function returns. Runs on whichever thread has something to
 * say, also on several at once. It must not call the library, unwind or longjmp. */
typedef void (*watch_log_fn)(void *user_data, uint32_t level, const char *message);

/** Sends log lines up to level_max (WATCH_LOG_*) to a function, for the whole process; replaces the
 * previous one. NULL function = silence (the default), whatever level_max is.
 * Own: user_data goes to the library, also when the call fails. Thr: any. Blk: no. Err: INVALID_ARGUMENT */
watch_status watch_log_set(uint32_t level_max,
                           watch_log_fn function,
                           void *user_data,
                           watch_destroy_fn destroy);

#ifdef __cplusplus
} /* extern "C" */
#endif
#endif /* WATCH_H */
