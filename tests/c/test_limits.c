/* Every bound: at it the call works, one past it the call is refused and nothing is changed. */
#include "support.h"

enum { KEY_MAX = 65535, VALUE_MAX = 64 * 1024 * 1024, OPS_MAX = 128, OPS_MOST = 65535, DEPTH_MAX = 32 };

static void limit_of_keys(void) {
  watch_store *store = open_memory();
  watch_stream *stream = open_stream(store);
  uint8_t *bytes = calloc(1, KEY_MAX + 1);
  const watch_result *result = NULL;
  REQUIRE(bytes != NULL);
  memset(bytes, 'k', KEY_MAX + 1);
  CHECK_INT(WATCH_OK, watch_store_put(store, watch_bytes_of(bytes, KEY_MAX), B("v"), NULL));
  CHECK_INT(WATCH_ERR_LIMIT, watch_store_put(store, watch_bytes_of(bytes, KEY_MAX + 1), B("v"), NULL));
  CHECK_INT(2, watch_store_revision(store));
  REQUIRE_OK(watch_store_get(store, watch_bytes_of(bytes, KEY_MAX), 0, &result));
  REQUIRE(result->kv_count == 1);
  CHECK_INT(KEY_MAX, result->kvs[0].key.len);
  watch_result_release(result);
  CHECK_INT(WATCH_ERR_LIMIT, watch_store_get(store, watch_bytes_of(bytes, KEY_MAX + 1), 0, NULL));
  CHECK_INT(WATCH_ERR_LIMIT,
            watch_store_delete(store, watch_bytes_of(bytes, KEY_MAX + 1), NO_BYTES, NULL, NULL));
  CHECK_INT(WATCH_ERR_EMPTY_KEY, watch_store_put(store, NO_BYTES, B("v"), NULL));
  CHECK_INT(WATCH_ERR_EMPTY_KEY, watch_store_get(store, NO_BYTES, 0, NULL));
  CHECK_INT(WATCH_ERR_EMPTY_KEY, watch_store_delete(store, NO_BYTES, NO_BYTES, NULL, NULL));
  watch_stream_close(stream);
  CHECK_INT(WATCH_OK, watch_store_close(store));
  free(bytes);
}

static void limit_of_values(void) {
  watch_store *store = open_memory();
  watch_stream *stream = open_stream(store);
  uint8_t *bytes = malloc((size_t)VALUE_MAX + 1);
  const watch_result *result = NULL;
  const watch_response *response;
  REQUIRE(bytes != NULL);
  memset(bytes, 'v', (size_t)VALUE_MAX + 1);
  bytes[VALUE_MAX - 1] = 'e';
  watch_prefix(stream, "k", 0, 0);
  CHECK_INT(WATCH_ERR_LIMIT,
            watch_store_put(store, B("k"), watch_bytes_of(bytes, (size_t)VALUE_MAX + 1), NULL));
  CHECK_INT(1, watch_store_revision(store));
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

static void limit_of_operations(void) {
  watch_store *store = open_memory();
  watch_store_options options;
  CHECK_INT(WATCH_OK, txn_of(store, OPS_MAX, 0));
  CHECK_INT(WATCH_ERR_LIMIT, txn_of(store, OPS_MAX + 1, 0));
  CHECK_INT(WATCH_ERR_LIMIT, txn_of(store, OPS_MAX + 1, 1));
  CHECK_INT(2, watch_store_revision(store));
  CHECK_INT(WATCH_OK, watch_store_close(store));
  WATCH_INIT(&options);
  options.flags = WATCH_OPEN_MEMORY;
  options.txn_ops_max = 3;
  REQUIRE_OK(watch_store_open(NULL, &options, &store));
  CHECK_INT(WATCH_OK, txn_of(store, 3, 0));
  CHECK_INT(WATCH_ERR_LIMIT, txn_of(store, 4, 0));
  CHECK_INT(WATCH_OK, watch_store_close(store));
  options.txn_ops_max = OPS_MOST;
  REQUIRE_OK(watch_store_open(NULL, &options, &store));
  CHECK_INT(WATCH_OK, txn_of(store, OPS_MOST, 0));
  CHECK_INT(WATCH_ERR_LIMIT, txn_of(store, OPS_MOST + 1, 0));
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

static void limit_of_nesting(void) {
  watch_store *store = open_memory();
  CHECK_INT(WATCH_OK, txn_of_depth(store, DEPTH_MAX));
  CHECK_INT(WATCH_ERR_LIMIT, txn_of_depth(store, DEPTH_MAX + 1));
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

/* A few pointers that ask for 2^31 operations, and one that never ends. */
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
  CHECK_INT(WATCH_ERR_LIMIT, watch_store_txn(store, &txns[0], NULL));
  again.type = WATCH_OP_TXN;
  again.reserved = 0;
  again.request.txn = &circle;
  WATCH_INIT(&circle);
  circle.failure = &again;
  circle.failure_count = 1;
  CHECK_INT(WATCH_ERR_LIMIT, watch_store_txn(store, &circle, NULL));
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

static void limit_of_store_options(void) {
  watch_store_options options;
  WATCH_INIT(&options);
  options.flags = WATCH_OPEN_MEMORY;
  options.segment_bytes = 64 * 1024;
  CHECK_INT(WATCH_OK, open_and_close(&options));
  options.segment_bytes = 64 * 1024 - 1;
  CHECK_INT(WATCH_ERR_LIMIT, open_and_close(&options));
  options.segment_bytes = (1 << 30) + UINT64_C(1);
  CHECK_INT(WATCH_ERR_LIMIT, open_and_close(&options));
  options.segment_bytes = 0;
  options.txn_ops_max = OPS_MOST;
  CHECK_INT(WATCH_OK, open_and_close(&options));
  options.txn_ops_max = OPS_MOST + 1;
  CHECK_INT(WATCH_ERR_LIMIT, open_and_close(&options));
  options.txn_ops_max = 0;
  options.dispatch_threads = 256;
  CHECK_INT(WATCH_OK, open_and_close(&options));
  options.dispatch_threads = 257;
  CHECK_INT(WATCH_ERR_LIMIT, open_and_close(&options));
}

static void limit_of_spans(void) {
  watch_store *store = open_memory();
  uint8_t byte = 'k';
  CHECK_INT(WATCH_ERR_LIMIT, watch_store_put(store, watch_bytes_of(&byte, SIZE_MAX), B("v"), NULL));
  CHECK_INT(WATCH_ERR_LIMIT, watch_store_put(store, B("k"), watch_bytes_of(&byte, SIZE_MAX / 2 + 1), NULL));
  CHECK_INT(WATCH_ERR_LIMIT, watch_store_get(store, watch_bytes_of(&byte, SIZE_MAX), 0, NULL));
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

int main(void) {
  check_start();
  RUN(limit_of_keys);
  RUN(limit_of_values);
  RUN(limit_of_operations);
  RUN(limit_of_nesting);
  RUN(limit_of_shared_and_circular_transactions);
  RUN(limit_of_store_options);
  RUN(limit_of_spans);
  return check_done();
}
