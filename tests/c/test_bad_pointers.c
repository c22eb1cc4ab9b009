/* What only C can get wrong: NULL everywhere, unknown numbers, sizes that cannot be, handles of another kind.
 * Each is told by name and changes nothing. */
#include "scene.h"

#define BAD(words, call) REFUSED(WATCH_ERR_INVALID_ARGUMENT, words, call)
#define UNKNOWN(words, call) REFUSED(WATCH_ERR_UNSUPPORTED, words, call)

/* etcd 14.11 */
static void null_handles(void) {
  watch_stream *stream = NULL;
  const watch_response *response = NULL;
  watch_store_stats stats;
  watch_put_request put_request;
  watch_range_request range;
  watch_delete_range_request gone;
  watch_txn_request txn;
  watch_create_request create;
  size_t count;
  WATCH_INIT(&stats);
  WATCH_INIT(&put_request);
  WATCH_INIT(&range);
  WATCH_INIT(&gone);
  WATCH_INIT(&txn);
  WATCH_INIT(&create);
  BAD("the store is NULL", watch_store_put(NULL, B("k"), B("v"), NULL));
  BAD("the store is NULL", watch_store_delete(NULL, B("k"), NO_BYTES, NULL, NULL));
  BAD("the store is NULL", watch_store_get(NULL, B("k"), 0, NULL));
  BAD("the store is NULL", watch_store_put_with(NULL, &put_request, NULL));
  BAD("the store is NULL", watch_store_range(NULL, &range, NULL));
  BAD("the store is NULL", watch_store_delete_with(NULL, &gone, NULL));
  BAD("the store is NULL", watch_store_txn(NULL, &txn, NULL));
  BAD("the store is NULL", watch_store_compact(NULL, 1, 0));
  BAD("the store is NULL", watch_store_sync(NULL, 0));
  BAD("the store is NULL", watch_store_stats_read(NULL, &stats));
  BAD("the store is NULL", watch_stream_open(NULL, NULL, &stream));
  CHECK_INT(0, watch_store_revision(NULL));
  CHECK_INT(0, watch_store_compact_revision(NULL));
  CHECK_INT(0, watch_store_durable_revision(NULL));
  BAD("the stream is NULL", watch_stream_create(NULL, &create, NULL));
  BAD("the stream is NULL", watch_stream_cancel(NULL, 1));
  BAD("the stream is NULL", watch_stream_request_progress(NULL));
  BAD("the stream is NULL", watch_stream_next(NULL, 0, &response));
  BAD("the stream is NULL", watch_stream_next_batch(NULL, 0, &response, 1, &count));
  BAD("the stream is NULL", watch_stream_shutdown(NULL));
  CHECK_INT(-1, watch_stream_fd(NULL));
  CHECK_INT(WATCH_OK, watch_store_close(NULL));
  watch_stream_close(NULL);
  watch_response_release(NULL);
  watch_result_release(NULL);
  CHECK(watch_response_retain(NULL) == NULL && watch_result_retain(NULL) == NULL);
}

/* etcd 14.11 */
static void null_places_and_requests(void) {
  watch_store_options options;
  watch_bytes end;
  uint8_t buf[4];
  const watch_response *response = NULL;
  size_t count;
  WATCH_INIT(&options);
  options.flags = WATCH_OPEN_MEMORY;
  BAD("store is NULL", watch_store_open("nowhere", &options, NULL));
  options.flags = WATCH_OPEN_CREATE;
  {
    watch_store *none = NULL;
    BAD("path is NULL", watch_store_open(NULL, &options, &none));
    BAD("path is NULL", watch_store_open(NULL, NULL, &none));
    CHECK(none == NULL);
  }
  BAD("watch_put_request is NULL", watch_store_put_with(store, NULL, NULL));
  BAD("watch_range_request is NULL", watch_store_range(store, NULL, NULL));
  BAD("watch_delete_range_request is NULL", watch_store_delete_with(store, NULL, NULL));
  BAD("watch_txn_request is NULL", watch_store_txn(store, NULL, NULL));
  BAD("watch_store_stats is NULL", watch_store_stats_read(store, NULL));
  BAD("stream is NULL", watch_stream_open(store, NULL, NULL));
  BAD("watch_create_request is NULL", watch_stream_create(stream, NULL, NULL));
  BAD("response is NULL", watch_stream_next(stream, 0, NULL));
  BAD("responses is NULL", watch_stream_next_batch(stream, 0, NULL, 1, &count));
  BAD("count is NULL", watch_stream_next_batch(stream, 0, &response, 1, NULL));
  BAD("buf is NULL", watch_prefix_end(B("a"), NULL, 4, &end));
  BAD("range_end is NULL", watch_prefix_end(B("a"), buf, sizeof buf, NULL));
  BAD("watch_error_info is NULL", watch_last_error_info(NULL));
}

/* etcd 14.11 */
static void null_with_a_length_is_refused(void) {
  watch_bytes nothing = watch_bytes_of(NULL, 3), end;
  watch_put_request put_request;
  watch_range_request range;
  watch_delete_range_request gone;
  watch_create_request create;
  watch_compare compare;
  watch_txn_request txn;
  uint8_t buf[4];
  BAD("key: data is NULL and len is 3", watch_store_put(store, nothing, B("v"), NULL));
  BAD("value: data is NULL and len is 3", watch_store_put(store, B("k"), nothing, NULL));
  BAD("key: data is NULL and len is 3", watch_store_get(store, nothing, 0, NULL));
  BAD("range_end: data is NULL and len is 3", watch_store_delete(store, B("k"), nothing, NULL, NULL));
  BAD("prefix: data is NULL and len is 3", watch_prefix_end(nothing, buf, sizeof buf, &end));
  WATCH_INIT(&put_request);
  put_request.key = B("k");
  put_request.value = nothing;
  BAD("watch_put_request.value: data is NULL and len is 3", watch_store_put_with(store, &put_request, NULL));
  WATCH_INIT(&range);
  range.key = B("k");
  range.range_end = nothing;
  BAD("watch_range_request.range_end: data is NULL and len is 3", watch_store_range(store, &range, NULL));
  WATCH_INIT(&gone);
  gone.key = nothing;
  BAD("watch_delete_range_request.key: data is NULL and len is 3",
      watch_store_delete_with(store, &gone, NULL));
  WATCH_INIT(&create);
  create.key = nothing;
  BAD("watch_create_request.key: data is NULL and len is 3", watch_stream_create(stream, &create, NULL));
  memset(&compare, 0, sizeof compare);
  compare.key = B("k");
  compare.target = WATCH_COMPARE_VALUE;
  compare.value = nothing;
  WATCH_INIT(&txn);
  txn.compare = &compare;
  txn.compare_count = 1;
  BAD("watch_compare.value: data is NULL and len is 3", watch_store_txn(store, &txn, NULL));
}

/* etcd 6.1, 14.11 */
static void unknown_flags_of_every_request(void) {
  watch_store *none = NULL;
  watch_stream *no_stream = NULL;
  watch_store_options options;
  watch_stream_options stream_options;
  watch_put_request put_request;
  watch_range_request range;
  watch_delete_range_request gone;
  watch_create_request create;
  int bit;
  for (bit = 0; bit < 32; bit++) {
    uint32_t flag = UINT32_C(1) << bit;
    WATCH_INIT(&options);
    options.flags = WATCH_OPEN_MEMORY | flag;
    if (flag > WATCH_OPEN_MEMORY) {
      UNKNOWN("watch_store_options.flags", watch_store_open(NULL, &options, &none));
    }
    WATCH_INIT(&stream_options);
    stream_options.flags = flag;
    UNKNOWN("watch_stream_options.flags", watch_stream_open(store, &stream_options, &no_stream));
    WATCH_INIT(&put_request);
    put_request.key = B("k");
    put_request.flags = flag;
    if (flag > WATCH_PUT_IGNORE_LEASE) {
      UNKNOWN("watch_put_request.flags", watch_store_put_with(store, &put_request, NULL));
    }
    WATCH_INIT(&range);
    range.key = B("k");
    range.flags = flag;
    if (flag > WATCH_RANGE_COUNT_ONLY) {
      UNKNOWN("watch_range_request.flags", watch_store_range(store, &range, NULL));
    }
    WATCH_INIT(&gone);
    gone.key = B("k");
    gone.flags = flag;
    if (flag > WATCH_DELETE_PREV_KV) {
      UNKNOWN("watch_delete_range_request.flags", watch_store_delete_with(store, &gone, NULL));
    }
    WATCH_INIT(&create);
    create.key = B("k");
    create.flags = flag;
    if (flag > WATCH_CREATE_CREATED_NOTIFY) {
      UNKNOWN("watch_create_request.", watch_stream_create(stream, &create, NULL));
    }
    create.flags = 0;
    create.filters = flag;
    if (flag > WATCH_FILTER_NODELETE) {
      UNKNOWN("watch_create_request.", watch_stream_create(stream, &create, NULL));
    }
    if (flag > WATCH_COMPACT_PHYSICAL) {
      UNKNOWN("flags of watch_store_compact", watch_store_compact(store, 1, flag));
    }
  }
  CHECK(none == NULL && no_stream == NULL);
}

/* etcd 14.11 */
static void unknown_numbers_of_every_element(void) {
  watch_store *none = NULL;
  watch_store_options options;
  watch_range_request range;
  watch_compare compare;
  watch_put_request put_request;
  watch_op op;
  watch_txn_request txn;
  WATCH_INIT(&options);
  options.flags = WATCH_OPEN_MEMORY;
  options.durability = WATCH_DURABILITY_COMMIT + 1;
  BAD("watch_store_options.durability is 4", watch_store_open(NULL, &options, &none));
  WATCH_INIT(&range);
  range.key = B("k");
  range.sort_target = WATCH_SORT_VALUE + 1;
  BAD("watch_range_request.sort_target is 5", watch_store_range(store, &range, NULL));
  range.sort_target = 0;
  range.sort_order = UINT32_MAX;
  BAD("watch_range_request.sort_order is 4294967295", watch_store_range(store, &range, NULL));
  memset(&compare, 0, sizeof compare);
  compare.key = B("k");
  compare.target = WATCH_COMPARE_LEASE + 1;
  WATCH_INIT(&txn);
  txn.compare = &compare;
  txn.compare_count = 1;
  BAD("watch_compare.target is 5", watch_store_txn(store, &txn, NULL));
  compare.target = 0;
  compare.result = WATCH_NOT_EQUAL + 1;
  BAD("watch_compare.result is 4", watch_store_txn(store, &txn, NULL));
  compare.result = 0;
  compare.reserved = 1;
  UNKNOWN("watch_compare.reserved is not 0", watch_store_txn(store, &txn, NULL));
  WATCH_INIT(&put_request);
  put_request.key = B("k");
  op.reserved = 0;
  op.request.put = &put_request;
  WATCH_INIT(&txn);
  txn.success = &op;
  txn.success_count = 1;
  op.type = 0;
  BAD("watch_op.type is 0", watch_store_txn(store, &txn, NULL));
  op.type = WATCH_OP_TXN + 1;
  BAD("watch_op.type is 5", watch_store_txn(store, &txn, NULL));
  op.type = WATCH_OP_PUT;
  op.reserved = 1;
  UNKNOWN("watch_op.reserved is not 0", watch_store_txn(store, &txn, NULL));
  op.reserved = 0;
  op.request.put = NULL;
  BAD("watch_put_request is NULL", watch_store_txn(store, &txn, NULL));
  txn.success = NULL;
  BAD("success is NULL and success_count is 1", watch_store_txn(store, &txn, NULL));
}

/* A request as a later header may have it. */
struct later_put {
  watch_put_request request;
  uint64_t added[2];
};

/* etcd 14.11 */
static void sizes_of_requests(void) {
  struct later_put later;
  size_t size;
  memset(&later, 0, sizeof later);
  later.request.key = B("k");
  later.request.flags = WATCH_PUT_IGNORE_VALUE; /* refused when seen: the key is absent */
  later.request.size = sizeof later;
  CHECK_INT(WATCH_ERR_KEY_NOT_FOUND, watch_store_put_with(store, &later.request, NULL));
  later.added[1] = 1;
  UNKNOWN("watch_put_request", watch_store_put_with(store, &later.request, NULL));
  /* Shorter: what lies behind the size counts as zero, so there are no flags. */
  later.request.size = offsetof(watch_put_request, flags);
  CHECK_INT(WATCH_OK, watch_store_put_with(store, &later.request, NULL));
  later.request.size = offsetof(watch_put_request, key);
  CHECK_INT(WATCH_ERR_EMPTY_KEY, watch_store_put_with(store, &later.request, NULL));
  check_told(stream, 1, "8+k= ");
  check_told(witness, 1, "8+k= ");
  /* Sizes that cut a member, or that no request has. */
  for (size = 0; size < sizeof(watch_put_request); size++) {
    int is_end = size == offsetof(watch_put_request, key) || size == offsetof(watch_put_request, value) ||
                 size == offsetof(watch_put_request, lease) || size == offsetof(watch_put_request, flags) ||
                 size == offsetof(watch_put_request, flags) + 4;
    later.request.size = size;
    if (!is_end) {
      BAD("watch_put_request", watch_store_put_with(store, &later.request, NULL));
    }
  }
  later.request.size = SIZE_MAX;
  BAD("watch_put_request", watch_store_put_with(store, &later.request, NULL));
  later.request.size = 1 << 20;
  BAD("watch_put_request", watch_store_put_with(store, &later.request, NULL));
}

/* etcd 14.11 */
static void sizes_of_every_request(void) {
  watch_store *none = NULL;
  watch_stream *no_stream = NULL;
  union {
    size_t size;
    watch_store_options options;
    watch_stream_options stream_options;
    watch_range_request range;
    watch_delete_range_request gone;
    watch_txn_request txn;
    watch_create_request create;
    watch_store_stats stats;
    watch_error_info info;
    uint8_t room[512];
  } u;
  memset(&u, 0, sizeof u);
  BAD("watch_store_options", watch_store_open(NULL, &u.options, &none));
  BAD("watch_stream_options", watch_stream_open(store, &u.stream_options, &no_stream));
  BAD("watch_range_request", watch_store_range(store, &u.range, NULL));
  BAD("watch_delete_range_request", watch_store_delete_with(store, &u.gone, NULL));
  BAD("watch_txn_request", watch_store_txn(store, &u.txn, NULL));
  BAD("watch_create_request", watch_stream_create(stream, &u.create, NULL));
  BAD("watch_store_stats", watch_store_stats_read(store, &u.stats));
  BAD("watch_error_info", watch_last_error_info(&u.info));
  u.size = sizeof u.room;
  u.room[sizeof u.room - 1] = 1;
  UNKNOWN("watch_store_options", watch_store_open(NULL, &u.options, &none));
  UNKNOWN("watch_stream_options", watch_stream_open(store, &u.stream_options, &no_stream));
  UNKNOWN("watch_range_request", watch_store_range(store, &u.range, NULL));
  UNKNOWN("watch_delete_range_request", watch_store_delete_with(store, &u.gone, NULL));
  UNKNOWN("watch_txn_request", watch_store_txn(store, &u.txn, NULL));
  UNKNOWN("watch_create_request", watch_stream_create(stream, &u.create, NULL));
  UNKNOWN("watch_store_stats", watch_store_stats_read(store, &u.stats));
  UNKNOWN("watch_error_info", watch_last_error_info(&u.info));
  CHECK(none == NULL && no_stream == NULL);
}

/* etcd 14.11 */
static void handles_of_another_kind(void) {
  static uint64_t foreign[64];
  const watch_response *response = NULL;
  const watch_result *result = NULL;
  BAD("is not one of this library", watch_store_put((watch_store *)(void *)stream, B("k"), B("v"), NULL));
  BAD("is not one of this library", watch_stream_next((watch_stream *)(void *)store, 0, &response));
  BAD("is not one of this library", watch_store_close((watch_store *)(void *)stream));
  BAD("is not one of this library", watch_store_put((watch_store *)(void *)foreign, B("k"), B("v"), NULL));
  BAD("is not one of this library",
      watch_store_put((watch_store *)(void *)((char *)(void *)store + 1), B("k"), B("v"), NULL));
  REQUIRE_OK(watch_store_get(store, B("k"), 0, &result));
  CHECK(watch_response_retain((const watch_response *)(const void *)foreign) == NULL);
  CHECK(watch_result_retain((const watch_result *)(const void *)foreign) == NULL);
  watch_response_release((const watch_response *)(const void *)foreign);
  watch_result_release((const watch_result *)(const void *)foreign);
  watch_result_release(result);
  watch_stream_close((watch_stream *)(void *)store);
}

/* etcd 2.1, 5.1: a NULL of length 0 is an empty string, wherever bytes go in */
static void null_without_a_length_is_empty(void) {
  watch_create_request create = create_of(NO_BYTES, ALL_END, 0, 0);
  watch_put_request put_request = put_of("", "", 0);
  watch_bytes end = NO_BYTES;
  uint8_t buf[1];
  REFUSED(WATCH_ERR_EMPTY_KEY, "key", watch_store_put_with(store, &put_request, NULL));
  REFUSED(WATCH_ERR_EMPTY_KEY, "key", watch_store_get(store, NO_BYTES, 0, NULL));
  CHECK_INT(WATCH_OK, watch_store_put(store, B("n"), NO_BYTES, NULL));
  CHECK_INT(WATCH_OK, watch_prefix_end(NO_BYTES, buf, sizeof buf, &end));
  CHECK(end.len == 1 && end.data == buf && buf[0] == 0);
  create.flags = 0;
  CHECK_INT(WATCH_OK, watch_stream_create(witness, &create, NULL)); /* etcd 2.1: the key "\0", and on */
  CHECK_INT(9, put(store, "n", "1"));
  check_told(stream, 1, "8+n= 9+n=1 ");
  check_told(witness, 2, "8+n= 9+n=1 9+n=1 ");
  CHECK_INT(WATCH_OK, watch_stream_cancel(witness, 1));
  check_told(witness, 1, "");
}

/* etcd 3.10; "Results are written only when the answer is not negative." */
static uint8_t untouched[8] = {1, 2, 3, 4, 5, 6, 7, 8};

static void nothing_is_written_where_a_call_fails(void) {
  const watch_result *result = (const watch_result *)(const void *)untouched;
  const watch_response *response = (const watch_response *)(const void *)untouched;
  watch_create_request create = create_of(B("b"), B("a"), 0, 0);
  watch_range_request range = range_of("", "");
  watch_store *none = (watch_store *)(void *)untouched;
  watch_stream *no_stream = (watch_stream *)(void *)untouched;
  int64_t revision = -9, deleted = -9, id = -9;
  watch_bytes end = NO_BYTES;
  size_t count = 9;
  REFUSED(WATCH_ERR_EMPTY_KEY, "key", watch_store_put(store, NO_BYTES, NO_BYTES, &revision));
  REFUSED(WATCH_ERR_EMPTY_KEY, "key", watch_store_delete(store, NO_BYTES, NO_BYTES, &deleted, &revision));
  REFUSED(WATCH_ERR_EMPTY_KEY, "key", watch_store_get(store, NO_BYTES, 0, &result));
  REFUSED(WATCH_ERR_EMPTY_KEY, "key", watch_store_range(store, &range, &result));
  REFUSED(WATCH_ERR_EMPTY_RANGE, "range_end", watch_stream_create(stream, &create, &id));
  BAD("path is NULL", watch_store_open(NULL, NULL, &none));
  BAD("the store is NULL", watch_stream_open(NULL, NULL, &no_stream));
  BAD("the stream is NULL", watch_stream_next(NULL, 0, &response));
  BAD("the stream is NULL", watch_stream_next_batch(NULL, 0, &response, 1, &count));
  BAD("buf_len is 2", watch_prefix_end(B("abc"), untouched, 2, &end));
  CHECK(revision == -9 && deleted == -9 && id == -9 && count == 9 && end.data == NULL);
  CHECK((const void *)result == untouched && (const void *)response == untouched);
  CHECK((const void *)none == untouched && (const void *)no_stream == untouched);
}

int main(void) {
  check_start();
  SCENE(null_handles);
  SCENE(null_places_and_requests);
  SCENE(null_with_a_length_is_refused);
  SCENE(null_without_a_length_is_empty);
  SCENE(nothing_is_written_where_a_call_fails);
  SCENE(unknown_flags_of_every_request);
  SCENE(unknown_numbers_of_every_element);
  SCENE(sizes_of_requests);
  SCENE(sizes_of_every_request);
  SCENE(handles_of_another_kind);
  return check_done();
}
