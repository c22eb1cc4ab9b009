/* Every bound: at it the call works, one past it the call is refused by name and nothing is changed. The
 * cases have the names and the order of those of tests/limits.rs. */
#include "support.h"

enum { KEY_MAX = 65535, VALUE_MAX = 64 * 1024 * 1024, OPS_MAX = 128, OPS_MOST = 65535, DEPTH_MAX = 32 };
enum { PROGRESS_MAX = 1024, VALUES_OF_A_GIB = 16 };

static uint8_t long_key[KEY_MAX + 1];
static const watch_bytes longest = {long_key, KEY_MAX}, too_long = {long_key, KEY_MAX + 1};

static watch_store_stats look(watch_store *store) {
  watch_store_stats stats;
  WATCH_INIT(&stats);
  REQUIRE_OK(watch_store_stats_read(store, &stats));
  return stats;
}

static void check_limited(watch_store *store, watch_store_stats was, const char *words, int line) {
  watch_store_stats is = look(store);
  check_true(strstr(watch_last_error(), words) != NULL, __FILE__, line, words);
  check_true(is.revision == was.revision && is.compact_revision == was.compact_revision &&
                 is.key_count == was.key_count && is.watch_count == was.watch_count &&
                 is.stream_count == was.stream_count && is.put_total == was.put_total &&
                 is.delete_total == was.delete_total && is.txn_total == was.txn_total,
             __FILE__, line, "nothing is changed");
}

/* The call is past a bound, says so with these words, and changes nothing. */
#define LIMITED(words, call)                        \
  do {                                              \
    watch_store_stats was_ = look(store);           \
    CHECK_INT(WATCH_ERR_LIMIT, call);               \
    check_limited(store, was_, words, __LINE__);    \
  } while (0)

static watch_status txn_of_one(watch_store *store, watch_bytes key) {
  watch_put_request put_request;
  watch_txn_request txn;
  watch_op op = {WATCH_OP_PUT, 0, {NULL}};
  WATCH_INIT(&put_request);
  put_request.key = key;
  op.request.put = &put_request;
  WATCH_INIT(&txn);
  txn.success = &op;
  txn.success_count = 1;
  return watch_store_txn(store, &txn, NULL);
}

static watch_status txn_that_compares(watch_store *store, watch_bytes key, size_t count) {
  watch_compare *compares = calloc(count, sizeof *compares);
  watch_txn_request txn;
  watch_status status;
  size_t i;
  REQUIRE(compares != NULL);
  for (i = 0; i < count; i++) {
    compares[i].key = key;
  }
  WATCH_INIT(&txn);
  txn.compare = compares;
  txn.compare_count = count;
  status = watch_store_txn(store, &txn, NULL);
  free(compares);
  return status;
}

/* etcd 14.1, 14.11 */
static void a_key_has_1_to_65535_bytes(void) {
  watch_store *store = open_memory();
  const watch_result *result = NULL;
  CHECK_INT(2, put(store, "k", "short"));
  CHECK_INT(WATCH_OK, watch_store_put(store, longest, B("long"), NULL));
  LIMITED("the key has 65536 bytes", watch_store_put(store, too_long, B("v"), NULL));
  LIMITED("the key has 65536 bytes", watch_store_get(store, too_long, 0, NULL));
  LIMITED("the key has 65536 bytes", watch_store_delete(store, too_long, NO_BYTES, NULL, NULL));
  LIMITED("the key has 65536 bytes", txn_of_one(store, too_long));
  LIMITED("the key has 65536 bytes", txn_that_compares(store, too_long, 1));
  CHECK_INT(WATCH_ERR_EMPTY_KEY, watch_store_put(store, NO_BYTES, B("v"), NULL));
  CHECK_INT(WATCH_ERR_EMPTY_KEY, watch_store_get(store, NO_BYTES, 0, NULL));
  CHECK_INT(WATCH_ERR_EMPTY_KEY, watch_store_delete(store, NO_BYTES, NO_BYTES, NULL, NULL));
  CHECK_INT(3, watch_store_revision(store));
  REQUIRE_OK(watch_store_get(store, longest, 0, &result));
  REQUIRE(result->kv_count == 1);
  CHECK_INT(KEY_MAX, result->kvs[0].key.len);
  watch_result_release(result);
  CHECK_INT(WATCH_OK, txn_that_compares(store, longest, 1));
  CHECK_INT(WATCH_OK, txn_of_one(store, longest));
  CHECK_INT(WATCH_OK, watch_store_delete(store, longest, NO_BYTES, NULL, NULL));
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

/* etcd 2.2, 14.11 */
static void a_range_end_has_up_to_65535_bytes(void) {
  watch_store *store = open_memory();
  watch_range_request range;
  const watch_result *result = NULL;
  int64_t deleted = 0;
  put(store, "a", "1");
  WATCH_INIT(&range);
  range.key = B("a");
  range.range_end = too_long;
  LIMITED("the range_end has 65536 bytes", watch_store_range(store, &range, NULL));
  LIMITED("the range_end has 65536 bytes", watch_store_delete(store, B("a"), too_long, NULL, NULL));
  range.range_end = longest;
  REQUIRE_OK(watch_store_range(store, &range, &result));
  CHECK_INT(1, result->kv_count);
  watch_result_release(result);
  CHECK_INT(WATCH_OK, watch_store_delete(store, B("a"), longest, &deleted, NULL));
  CHECK_INT(1, deleted);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static watch_status watch_range(watch_stream *stream, watch_bytes key, watch_bytes end, int64_t *id) {
  watch_create_request create;
  WATCH_INIT(&create);
  create.key = key;
  create.range_end = end;
  return watch_stream_create(stream, &create, id);
}

/* etcd 2.2, 3.10 */
static void a_watch_takes_the_longest_key_and_range_end(void) {
  watch_store *store = open_memory();
  watch_stream *stream = open_stream(store);
  int64_t one = 0, range = 0, told[2] = {0, 0};
  const watch_response *response;
  LIMITED("the key has 65536 bytes", watch_range(stream, too_long, NO_BYTES, NULL));
  LIMITED("the range_end has 65536 bytes", watch_range(stream, B("a"), too_long, NULL));
  CHECK_INT(WATCH_OK, watch_range(stream, longest, NO_BYTES, &one));
  CHECK_INT(WATCH_OK, watch_range(stream, B("a"), longest, &range));
  CHECK_INT(WATCH_OK, watch_store_put(store, longest, B("x"), NULL));
  CHECK_INT(WATCH_OK, watch_store_put(store, watch_bytes_of(long_key, KEY_MAX - 1), B("y"), NULL));
  REQUIRE_OK(watch_stream_request_progress(stream));
  while ((response = next(stream))->watch_id != WATCH_ID_NONE) {
    told[response->watch_id == range] += (int64_t)response->event_count;
  }
  CHECK_INT(1, told[0]); /* the longest key matches itself */
  CHECK_INT(1, told[1]); /* the end is not in the range */
  watch_stream_close(stream);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

/* etcd 5.1, 14.11 */
static void a_value_has_up_to_64_mib(void) {
  watch_store *store = open_memory();
  watch_stream *stream = open_stream(store);
  uint8_t *bytes = malloc((size_t)VALUE_MAX + 1);
  const watch_result *result = NULL;
  const watch_response *response;
  REQUIRE(bytes != NULL);
  memset(bytes, 'v', (size_t)VALUE_MAX + 1);
  bytes[VALUE_MAX - 1] = 'e';
  watch_prefix(stream, "k", 0, 0);
  LIMITED("the value has 67108865 bytes",
          watch_store_put(store, B("k"), watch_bytes_of(bytes, (size_t)VALUE_MAX + 1), NULL));
  CHECK_INT(WATCH_OK, watch_store_put(store, B("k"), watch_bytes_of(bytes, VALUE_MAX), NULL));
  REQUIRE_OK(watch_store_get(store, B("k"), 0, &result));
  REQUIRE(result->kv_count == 1);
  CHECK_INT(VALUE_MAX, result->kvs[0].value.len);
  CHECK(memcmp(result->kvs[0].value.data, bytes, VALUE_MAX) == 0);
  watch_result_release(result);
  response = next(stream);
  REQUIRE(response->event_count == 1);
  CHECK_INT(VALUE_MAX, response->events[0].kv.value.len);
  CHECK_INT('e', response->events[0].kv.value.data[VALUE_MAX - 1]);
  watch_stream_close(stream);
  CHECK_INT(WATCH_OK, watch_store_close(store));
  free(bytes);
}

/* A transaction of `count` puts of different keys, in one of its lists. */
static watch_status txn_of(watch_store *store, size_t count, int in_failure) {
  watch_put_request *puts = calloc(count, sizeof *puts);
  watch_op *ops = calloc(count, sizeof *ops);
  char(*keys)[8] = calloc(count, sizeof *keys);
  watch_txn_request txn;
  watch_status status;
  size_t i;
  REQUIRE(puts != NULL && ops != NULL && keys != NULL);
  for (i = 0; i < count; i++) {
    snprintf(keys[i], sizeof keys[i], "k%05u", (unsigned)(i % 100000));
    WATCH_INIT(&puts[i]);
    puts[i].key = B(keys[i]);
    ops[i].type = WATCH_OP_PUT;
    ops[i].request.put = &puts[i];
  }
  WATCH_INIT(&txn);
  *(in_failure ? &txn.failure : &txn.success) = ops;
  *(in_failure ? &txn.failure_count : &txn.success_count) = count;
  status = watch_store_txn(store, &txn, NULL);
  free(puts);
  free(ops);
  free(keys);
  return status;
}

/* etcd 14.12 */
static void a_list_of_a_transaction_has_up_to_128_entries(void) {
  watch_store *store = open_memory();
  LIMITED("129 entries in one list", txn_that_compares(store, B("a"), OPS_MAX + 1));
  LIMITED("129 entries in one list", txn_of(store, OPS_MAX + 1, 0));
  LIMITED("129 entries in one list", txn_of(store, OPS_MAX + 1, 1));
  CHECK_INT(WATCH_OK, txn_that_compares(store, B("a"), OPS_MAX));
  CHECK_INT(WATCH_OK, txn_of(store, OPS_MAX, 1));
  CHECK_INT(WATCH_OK, txn_of(store, OPS_MAX, 0));
  CHECK_INT(2, watch_store_revision(store));
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static watch_status nested_ranges(watch_store *store, size_t count) {
  watch_op ops[OPS_MAX], outer_op = {WATCH_OP_TXN, 0, {NULL}};
  watch_txn_request inner, outer;
  watch_range_request range;
  size_t i;
  WATCH_INIT(&range);
  range.key = B("k");
  memset(ops, 0, sizeof ops);
  for (i = 0; i < count; i++) {
    ops[i].type = WATCH_OP_RANGE;
    ops[i].request.range = &range;
  }
  WATCH_INIT(&inner);
  inner.success = ops;
  inner.success_count = count;
  outer_op.request.txn = &inner;
  WATCH_INIT(&outer);
  outer.success = &outer_op;
  outer.success_count = 1;
  return watch_store_txn(store, &outer, NULL);
}

/* etcd 14.12 */
static void the_lists_of_nested_transactions_share_the_bound(void) {
  watch_store *store = open_memory();
  LIMITED("127 of 128 are left", nested_ranges(store, OPS_MAX));
  CHECK_INT(WATCH_OK, nested_ranges(store, OPS_MAX - 1));
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

/* etcd 14.12 */
static void the_bound_on_operations_can_be_moved_and_is_bounded_itself(void) {
  watch_store *store = NULL;
  watch_store_options options;
  WATCH_INIT(&options);
  options.flags = WATCH_OPEN_MEMORY;
  options.txn_ops_max = 3;
  REQUIRE_OK(watch_store_open(NULL, &options, &store));
  LIMITED("3 of 3 are left", txn_of(store, 4, 0));
  CHECK_INT(WATCH_OK, txn_of(store, 3, 0));
  CHECK_INT(WATCH_OK, watch_store_close(store));
  options.txn_ops_max = OPS_MOST;
  REQUIRE_OK(watch_store_open(NULL, &options, &store));
  LIMITED("success_count is 65536", txn_of(store, OPS_MOST + 1, 0));
  CHECK_INT(WATCH_OK, txn_of(store, OPS_MOST, 0));
  CHECK_INT(2, watch_store_revision(store));
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static watch_status txn_of_depth(watch_store *store, int depth) {
  watch_txn_request txns[DEPTH_MAX + 1];
  watch_op ops[DEPTH_MAX + 1];
  int i;
  memset(ops, 0, sizeof ops);
  for (i = 0; i < depth; i++) {
    WATCH_INIT(&txns[i]);
    if (i > 0) {
      ops[i].type = WATCH_OP_TXN;
      ops[i].request.txn = &txns[i];
      txns[i - 1].success = &ops[i];
      txns[i - 1].success_count = 1;
    }
  }
  return watch_store_txn(store, &txns[0], NULL);
}

/* etcd 14.12 */
static void transactions_nest_32_deep(void) {
  watch_store *store = open_memory();
  LIMITED("deeper than 32", txn_of_depth(store, DEPTH_MAX + 1));
  CHECK_INT(WATCH_OK, txn_of_depth(store, DEPTH_MAX));
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

/* etcd 14.11: 16 values of 64 MiB, and 16 keys */
static void a_transaction_has_up_to_1_gib(void) {
  watch_store *store = open_memory();
  uint8_t *value = calloc(1, VALUE_MAX);
  watch_put_request puts[VALUES_OF_A_GIB];
  watch_op ops[VALUES_OF_A_GIB];
  char keys[VALUES_OF_A_GIB];
  watch_txn_request txn;
  int i;
  REQUIRE(value != NULL);
  memset(ops, 0, sizeof ops);
  for (i = 0; i < VALUES_OF_A_GIB; i++) {
    keys[i] = (char)('a' + i);
    WATCH_INIT(&puts[i]);
    puts[i].key = watch_bytes_of(&keys[i], 1);
    puts[i].value = watch_bytes_of(value, VALUE_MAX);
    ops[i].type = WATCH_OP_PUT;
    ops[i].request.put = &puts[i];
  }
  WATCH_INIT(&txn);
  txn.success = ops;
  txn.success_count = VALUES_OF_A_GIB;
  LIMITED("1073741824", watch_store_txn(store, &txn, NULL));
  CHECK_INT(2, put(store, "a", "1")); /* the store goes on */
  CHECK_INT(WATCH_OK, watch_store_close(store));
  free(value);
}

/* etcd 14.12: a few pointers that ask for 2^31 operations, and one that never ends */
static void limit_of_shared_and_circular_transactions(void) {
  watch_store *store = open_memory();
  watch_txn_request txns[DEPTH_MAX], circle;
  watch_op ops[DEPTH_MAX][2], again;
  int i;
  memset(ops, 0, sizeof ops);
  for (i = 0; i < DEPTH_MAX; i++) {
    WATCH_INIT(&txns[i]);
    if (i > 0) {
      ops[i][0].type = ops[i][1].type = WATCH_OP_TXN;
      ops[i][0].request.txn = ops[i][1].request.txn = &txns[i];
      txns[i - 1].success = ops[i];
      txns[i - 1].success_count = 2;
    }
  }
  LIMITED("more than one transaction may hold", watch_store_txn(store, &txns[0], NULL));
  again.type = WATCH_OP_TXN;
  again.reserved = 0;
  again.request.txn = &circle;
  WATCH_INIT(&circle);
  circle.failure = &again;
  circle.failure_count = 1;
  LIMITED("deeper than 32", watch_store_txn(store, &circle, NULL));
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static watch_status open_and_close(const watch_store_options *options) {
  watch_store *store = NULL;
  watch_status status = watch_store_open(NULL, options, &store);
  if (status == WATCH_OK) {
    CHECK_INT(WATCH_OK, watch_store_close(store));
  }
  return status;
}

/* etcd 14.11, in the opening of a store */
static void options_out_of_their_bounds_are_refused_by_name(void) {
  watch_store_options options;
  WATCH_INIT(&options);
  options.flags = WATCH_OPEN_MEMORY;
  options.segment_bytes = 64 * 1024;
  CHECK_INT(WATCH_OK, open_and_close(&options));
  options.segment_bytes = 64 * 1024 - 1;
  CHECK_INT(WATCH_ERR_LIMIT, open_and_close(&options));
  CHECK(strstr(watch_last_error(), "segment_bytes = 65535") != NULL);
  options.segment_bytes = (1 << 30) + UINT64_C(1);
  CHECK_INT(WATCH_ERR_LIMIT, open_and_close(&options));
  options.segment_bytes = UINT64_MAX;
  CHECK_INT(WATCH_ERR_LIMIT, open_and_close(&options));
  options.segment_bytes = 0;
  options.txn_ops_max = OPS_MOST;
  CHECK_INT(WATCH_OK, open_and_close(&options));
  options.txn_ops_max = OPS_MOST + 1;
  CHECK_INT(WATCH_ERR_LIMIT, open_and_close(&options));
  CHECK(strstr(watch_last_error(), "txn_ops_max = 65536") != NULL);
  options.txn_ops_max = 0;
  options.dispatch_threads = 256;
  CHECK_INT(WATCH_OK, open_and_close(&options));
  options.dispatch_threads = 257;
  CHECK_INT(WATCH_ERR_LIMIT, open_and_close(&options));
  CHECK(strstr(watch_last_error(), "dispatch_threads = 257") != NULL);
  options.dispatch_threads = 0;
  options.fragment_bytes = UINT64_MAX;
  options.sync_interval_ms = options.progress_interval_ms = UINT32_MAX;
  CHECK_INT(WATCH_OK, open_and_close(&options)); /* these have no upper bound */
}

/* etcd 12.5 */
static void up_to_1024_requests_for_progress_wait(void) {
  watch_store *store = open_memory();
  watch_stream *stream = open_stream(store);
  int i;
  for (i = 0; i < PROGRESS_MAX; i++) {
    REQUIRE_OK(watch_stream_request_progress(stream));
  }
  LIMITED("1024 requests for progress", watch_stream_request_progress(stream));
  for (i = 0; i < PROGRESS_MAX; i++) {
    CHECK((next(stream)->flags & WATCH_RESPONSE_PROGRESS) != 0);
  }
  CHECK_INT(WATCH_OK, watch_stream_request_progress(stream));
  CHECK((next(stream)->flags & WATCH_RESPONSE_PROGRESS) != 0);
  watch_stream_close(stream);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

/* etcd 3.2, 3.9 */
static void the_highest_numbers_are_legal_for_a_watch(void) {
  watch_store *store = open_memory();
  watch_stream *stream = open_stream(store);
  const watch_response *response;
  watch_create_request create;
  int64_t id = 0;
  WATCH_INIT(&create);
  create.key = ALL_KEY;
  create.range_end = ALL_END;
  create.watch_id = INT64_MAX;
  create.watch_data = (void *)UINTPTR_MAX;
  CHECK_INT(WATCH_OK, watch_stream_create(stream, &create, &id));
  CHECK_INT(INT64_MAX, id);
  create.watch_id = 0;
  create.start_revision = INT64_MAX;
  create.flags = WATCH_CREATE_CREATED_NOTIFY;
  CHECK_INT(WATCH_OK, watch_stream_create(stream, &create, &id));
  CHECK_INT(1, id);
  put(store, "a", "1");
  response = next(stream);
  CHECK(response->watch_id == 1 && response->resume_revision == INT64_MAX);
  response = next(stream);
  CHECK(response->watch_id == INT64_MAX && response->event_count == 1);
  CHECK(response->watch_data == (void *)UINTPTR_MAX);
  CHECK_INT(WATCH_AGAIN, watch_stream_next(stream, 0, &response));
  watch_stream_close(stream);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

/* etcd 14.11 */
static void limit_of_spans(void) {
  watch_store *store = open_memory();
  uint8_t byte = 'k';
  LIMITED("len is", watch_store_put(store, watch_bytes_of(&byte, SIZE_MAX), B("v"), NULL));
  LIMITED("len is", watch_store_put(store, B("k"), watch_bytes_of(&byte, SIZE_MAX / 2 + 1), NULL));
  LIMITED("len is", watch_store_get(store, watch_bytes_of(&byte, SIZE_MAX), 0, NULL));
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

int main(void) {
  check_start();
  memset(long_key, 'k', sizeof long_key);
  RUN(a_key_has_1_to_65535_bytes);
  RUN(a_range_end_has_up_to_65535_bytes);
  RUN(a_watch_takes_the_longest_key_and_range_end);
  RUN(a_value_has_up_to_64_mib);
  RUN(a_list_of_a_transaction_has_up_to_128_entries);
  RUN(the_lists_of_nested_transactions_share_the_bound);
  RUN(the_bound_on_operations_can_be_moved_and_is_bounded_itself);
  RUN(transactions_nest_32_deep);
  RUN(a_transaction_has_up_to_1_gib);
  RUN(options_out_of_their_bounds_are_refused_by_name);
  RUN(up_to_1024_requests_for_progress_wait);
  RUN(the_highest_numbers_are_legal_for_a_watch);
  RUN(limit_of_shared_and_circular_transactions);
  RUN(limit_of_spans);
  return check_done();
}
