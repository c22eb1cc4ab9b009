/* A program that was compiled against the header of release 0.1 and runs with the library of today. The header in
 * old/ is frozen: it is the one that this release shipped, and it is never edited. */
#include "old/watch_0_1.h"

#include "check.h"

static watch_status on_response(void *user_data, watch_stream *stream, const watch_response *response) {
  (void)stream;
  *(int64_t *)user_data += (int64_t)response->event_count;
  return WATCH_OK;
}

static void old_client_reads_writes_and_watches(void) {
  watch_store_options options;
  watch_stream_options stream_options;
  watch_create_request create;
  watch_put_request put_request;
  watch_txn_request txn;
  watch_compare compare;
  watch_op op;
  watch_store_stats stats;
  watch_store *store = NULL;
  watch_stream *stream = NULL, *callbacks = NULL;
  const watch_result *result = NULL;
  const watch_response *response = NULL;
  int64_t id = 0, events = 0;
  CHECK_INT(1, watch_abi_version());
  CHECK_INT(WATCH_OK, watch_check_version());
  WATCH_INIT(&options);
  options.flags = WATCH_OPEN_MEMORY;
  REQUIRE(watch_store_open(NULL, &options, &store) == WATCH_OK);
  REQUIRE(watch_stream_open(store, NULL, &stream) == WATCH_OK);
  WATCH_INIT(&stream_options);
  stream_options.on_response = on_response;
  stream_options.user_data = &events;
  REQUIRE(watch_stream_open(store, &stream_options, &callbacks) == WATCH_OK);
  WATCH_INIT(&create);
  create.key = watch_bytes_str("k");
  create.flags = WATCH_CREATE_PREV_KV;
  create.watch_data = &events;
  REQUIRE(watch_stream_create(stream, &create, &id) == WATCH_OK);
  WATCH_INIT(&put_request);
  put_request.key = watch_bytes_str("k");
  put_request.value = watch_bytes_str("v");
  put_request.flags = WATCH_PUT_PREV_KV;
  REQUIRE(watch_store_put_with(store, &put_request, &result) == WATCH_OK);
  CHECK(WATCH_HAS(watch_result, result, result_count));
  CHECK_INT(2, result->revision);
  watch_result_release(result);
  memset(&compare, 0, sizeof compare);
  compare.target = WATCH_COMPARE_VALUE;
  compare.result = WATCH_EQUAL;
  compare.key = compare.value = put_request.key;
  compare.value = put_request.value;
  op.type = WATCH_OP_PUT;
  op.reserved = 0;
  op.request.put = &put_request;
  WATCH_INIT(&txn);
  txn.compare = &compare;
  txn.compare_count = 1;
  txn.success = &op;
  txn.success_count = 1;
  REQUIRE(watch_store_txn(store, &txn, &result) == WATCH_OK);
  CHECK_INT(WATCH_RESULT_SUCCEEDED, result->flags);
  REQUIRE(result->result_count == 1);
  CHECK_BYTES("v", result->results[0]->kvs[0].value);
  watch_result_release(result);
  while (events < 2) {
    size_t i;
    REQUIRE(watch_stream_next(stream, -1, &response) == WATCH_OK);
    CHECK(WATCH_HAS(watch_response, response, watch_data));
    CHECK_INT(id, response->watch_id);
    for (i = 0; i < response->event_count; i++, events++) {
      CHECK_INT(events + 2, response->events[i].kv.mod_revision);
      CHECK((response->events[i].prev_kv != NULL) == (events > 0));
    }
  }
  watch_stream_close(callbacks);
  WATCH_INIT(&stats);
  CHECK_INT(WATCH_OK, watch_store_stats_read(store, &stats));
  CHECK_INT(3, stats.revision);
  watch_stream_close(stream);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

int main(void) {
  check_start();
  RUN(old_client_reads_writes_and_watches);
  return check_done();
}
