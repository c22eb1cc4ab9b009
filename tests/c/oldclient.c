/* A program that was compiled against the header of release 0.1 and runs with the library of today. The
 * header in old/ is frozen: it is the one this release shipped, and it is never edited. */
#include "old/watch_0_1.h"

#include "check.h"

#include <pthread.h>

static watch_store *open_old(void) {
  watch_store_options options;
  watch_store *store = NULL;
  WATCH_INIT(&options);
  options.flags = WATCH_OPEN_MEMORY;
  REQUIRE(watch_store_open(NULL, &options, &store) == WATCH_OK);
  return store;
}

static watch_put_request put_of_k(void) {
  watch_put_request request;
  WATCH_INIT(&request);
  request.key = watch_bytes_str("k");
  request.value = watch_bytes_str("v");
  request.flags = WATCH_PUT_PREV_KV;
  return request;
}

static void old_client_fits_the_library(void) {
  CHECK_INT(1, watch_abi_version());
  CHECK_INT(WATCH_OK, watch_check_version());
}

static void old_client_puts_and_runs_transactions(void) {
  watch_store *store = open_old();
  watch_put_request request = put_of_k();
  watch_txn_request txn;
  watch_compare compare;
  watch_op op;
  watch_store_stats stats;
  const watch_result *result = NULL;
  REQUIRE(watch_store_put_with(store, &request, &result) == WATCH_OK);
  CHECK(WATCH_HAS(watch_result, result, result_count));
  CHECK_INT(2, result->revision);
  watch_result_release(result);
  memset(&compare, 0, sizeof compare);
  compare.target = WATCH_COMPARE_VALUE;
  compare.result = WATCH_EQUAL;
  compare.key = request.key;
  compare.value = request.value;
  op.type = WATCH_OP_PUT;
  op.reserved = 0;
  op.request.put = &request;
  WATCH_INIT(&txn);
  txn.compare = &compare;
  txn.compare_count = 1;
  txn.success = &op;
  txn.success_count = 1;
  REQUIRE(watch_store_txn(store, &txn, &result) == WATCH_OK);
  CHECK_INT(WATCH_RESULT_SUCCEEDED, result->flags);
  REQUIRE(result->result_count == 1 && result->results[0]->kv_count == 1);
  CHECK_BYTES("v", result->results[0]->kvs[0].value);
  watch_result_release(result);
  WATCH_INIT(&stats);
  CHECK_INT(WATCH_OK, watch_store_stats_read(store, &stats));
  CHECK_INT(3, stats.revision);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void old_client_polls(void) {
  watch_store *store = open_old();
  watch_put_request request = put_of_k();
  watch_create_request create;
  watch_stream *stream = NULL;
  const watch_response *response = NULL;
  int64_t id = 0, events = 0;
  REQUIRE(watch_stream_open(store, NULL, &stream) == WATCH_OK);
  WATCH_INIT(&create);
  create.key = request.key;
  create.flags = WATCH_CREATE_PREV_KV;
  create.watch_data = &events;
  REQUIRE(watch_stream_create(stream, &create, &id) == WATCH_OK);
  CHECK_INT(WATCH_OK, watch_store_put_with(store, &request, NULL));
  CHECK_INT(WATCH_OK, watch_store_put_with(store, &request, NULL));
  while (events < 2) {
    size_t i;
    REQUIRE(watch_stream_next(stream, -1, &response) == WATCH_OK);
    CHECK(WATCH_HAS(watch_response, response, watch_data));
    CHECK(response->watch_data == &events);
    CHECK_INT(id, response->watch_id);
    for (i = 0; i < response->event_count; i++, events++) {
      CHECK_INT(events + 2, response->events[i].kv.mod_revision);
      CHECK((response->events[i].prev_kv != NULL) == (events > 0));
    }
  }
  watch_stream_close(stream);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

struct seen {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  size_t events;
  int ended;
};

static watch_status on_response(void *user_data, watch_stream *stream, const watch_response *response) {
  struct seen *seen = user_data;
  (void)stream;
  pthread_mutex_lock(&seen->lock);
  seen->events += response->event_count;
  pthread_cond_broadcast(&seen->changed);
  pthread_mutex_unlock(&seen->lock);
  return WATCH_OK;
}

static void on_end(void *user_data) {
  ((struct seen *)user_data)->ended++;
}

static void old_client_is_called_back(void) {
  watch_store *store = open_old();
  watch_put_request request = put_of_k();
  watch_stream_options options;
  watch_create_request create;
  watch_stream *stream = NULL;
  struct seen seen = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0};
  WATCH_INIT(&options);
  options.on_response = on_response;
  options.user_data = &seen;
  options.destroy = on_end;
  REQUIRE(watch_stream_open(store, &options, &stream) == WATCH_OK);
  WATCH_INIT(&create);
  create.key = request.key;
  REQUIRE(watch_stream_create(stream, &create, NULL) == WATCH_OK);
  CHECK_INT(WATCH_OK, watch_store_put_with(store, &request, NULL));
  pthread_mutex_lock(&seen.lock);
  while (seen.events < 1) {
    pthread_cond_wait(&seen.changed, &seen.lock);
  }
  pthread_mutex_unlock(&seen.lock);
  watch_stream_close(stream);
  CHECK_INT(1, seen.ended);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

int main(void) {
  check_start();
  RUN(old_client_fits_the_library);
  RUN(old_client_puts_and_runs_transactions);
  RUN(old_client_polls);
  RUN(old_client_is_called_back);
  return check_done();
}
