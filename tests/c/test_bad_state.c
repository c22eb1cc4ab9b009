/* The rest of the list of test_bad_input.c: calls that do not fit what a stream, a store or a folder is. */
#include "scene.h"

#include <errno.h>
#include <pthread.h>

/* ---- streams ---- */

/* etcd 8.16: a batch is one response or more */
static void a_batch_of_nothing_is_refused(void) {
  const watch_response *response = NULL;
  size_t count = 9;
  REFUSED(WATCH_ERR_INVALID_ARGUMENT, "capacity is 0",
          watch_stream_next_batch(stream, -1, &response, 0, &count));
  CHECK(count == 9 && response == NULL);
}

static void *wait_long(void *place) {
  const watch_response *responses[4];
  size_t count = 0;
  REQUIRE_OK(watch_stream_next_batch(stream, INT64_MAX, responses, 4, &count));
  *(watch_bytes *)place = responses[0]->events[0].kv.value;
  return NULL;
}

/* etcd 8.1: who waits as long as numbers go is woken all the same */
static void a_wait_may_be_as_long_as_numbers_go(void) {
  const watch_response *response = NULL;
  watch_bytes value = NO_BYTES;
  pthread_t consumer;
  put(store, "a", "4");
  CHECK_INT(WATCH_OK, watch_stream_next(stream, INT64_MAX, &response));
  CHECK_BYTES("4", response->events[0].kv.value);
  put(store, "a", "5");
  CHECK_INT(WATCH_OK, watch_stream_next(stream, INT64_MIN, &response));
  CHECK_BYTES("5", response->events[0].kv.value);
  REQUIRE(pthread_create(&consumer, NULL, wait_long, &value) == 0);
  put(store, "a", "6");
  REQUIRE(pthread_join(consumer, NULL) == 0);
  CHECK_BYTES("6", value);
  check_told(witness, 3, "8+a=4 9+a=5 10+a=6 ");
}

static watch_status take(void *user_data, watch_stream *from, const watch_response *response) {
  (void)user_data;
  (void)from;
  (void)response;
  return WATCH_OK;
}

/* etcd 9.5: next, next_batch and fd belong to streams without a callback */
static void a_callback_stream_has_no_consumer_and_no_descriptor(void) {
  watch_stream_options options;
  watch_stream *called = NULL;
  const watch_response *response = NULL;
  size_t count = 0;
  WATCH_INIT(&options);
  options.on_response = take;
  REQUIRE_OK(watch_stream_open(store, &options, &called));
  REFUSED(WATCH_ERR_INVALID_STATE, "callback", watch_stream_next(called, -1, &response));
  REFUSED(WATCH_ERR_INVALID_STATE, "callback", watch_stream_next_batch(called, 0, &response, 1, &count));
  REFUSED(-1, "callback", watch_stream_fd(called));
  CHECK_INT(WATCH_ERR_INVALID_STATE, last_info().status);
  watch_stream_close(called);
}

/* Becomes the consumer, also while another one tries for a moment. */
static void *take_one(void *place) {
  const watch_response *response = NULL;
  while (watch_stream_next(stream, -1, &response) == WATCH_ERR_BUSY) {
  }
  REQUIRE(response != NULL);
  *(int64_t *)place = response->events[0].kv.mod_revision;
  return NULL;
}

/* etcd 4.2: responses of a stream have one order because one consumer takes them */
static void a_second_consumer_is_told_that_the_stream_is_busy(void) {
  const watch_response *response = NULL;
  pthread_t consumer;
  watch_status status;
  int64_t revision = 0;
  REQUIRE(pthread_create(&consumer, NULL, take_one, &revision) == 0);
  do {
    status = watch_stream_next(stream, 0, &response);
  } while (status == WATCH_AGAIN);
  CHECK_INT(WATCH_ERR_BUSY, status);
  CHECK(strstr(watch_last_error(), "stream") != NULL);
  CHECK_INT(8, put(store, "a", "4"));
  REQUIRE(pthread_join(consumer, NULL) == 0);
  CHECK_INT(8, revision);
  CHECK_INT(WATCH_AGAIN, watch_stream_next(stream, 0, &response));
  check_told(witness, 1, "8+a=4 ");
}

static void refused_flags(uint32_t flag) {
  watch_store_options options;
  watch_stream_options stream_options;
  watch_store *no_store = NULL;
  watch_stream *no_stream = NULL;
  watch_put_request put_request = put_of("k", "", flag | 8);
  watch_range_request range = range_of("k", "");
  watch_delete_range_request gone = delete_of("a", "");
  watch_create_request create = create_of(ALL_KEY, ALL_END, 0, 0);
  WATCH_INIT(&options);
  options.flags = WATCH_OPEN_MEMORY | flag;
  WATCH_INIT(&stream_options);
  stream_options.flags = flag;
  range.flags = flag;
  gone.flags = flag;
  create.flags = flag;
  REFUSED(WATCH_ERR_UNSUPPORTED, "flags", watch_store_open(NULL, &options, &no_store));
  REFUSED(WATCH_ERR_UNSUPPORTED, "flags", watch_stream_open(store, &stream_options, &no_stream));
  REFUSED(WATCH_ERR_UNSUPPORTED, "watch_put_request.flags", watch_store_put_with(store, &put_request, NULL));
  REFUSED(WATCH_ERR_UNSUPPORTED, "watch_range_request.flags", watch_store_range(store, &range, NULL));
  REFUSED(WATCH_ERR_UNSUPPORTED, "watch_delete_range_request.flags",
          watch_store_delete_with(store, &gone, NULL));
  REFUSED(WATCH_ERR_UNSUPPORTED, "watch_put_request.flags", run_after_put(op_put(&put_request)));
  REFUSED(WATCH_ERR_UNSUPPORTED, "watch_create_request.flags", watch_stream_create(stream, &create, NULL));
  create.flags = 0;
  create.filters = flag;
  REFUSED(WATCH_ERR_UNSUPPORTED, "watch_create_request.filters", watch_stream_create(stream, &create, NULL));
  REFUSED(WATCH_ERR_UNSUPPORTED, "flags", watch_store_compact(store, CURRENT, flag));
  CHECK(no_store == NULL && no_stream == NULL);
}

/* etcd 6.1, 14.11 */
static void unknown_filters_flags_and_numbers_are_refused(void) {
  watch_range_request range = range_of("a", "z");
  watch_compare compare;
  watch_txn_request txn = txn_of(NULL, 0);
  watch_op op = {WATCH_OP_TXN + 1, 0, {NULL}};
  refused_flags(UINT32_C(1) << 4);
  refused_flags(UINT32_C(1) << 31);
  refused_flags(UINT32_MAX);
  range.sort_target = WATCH_SORT_VALUE + 1;
  REFUSED(WATCH_ERR_INVALID_ARGUMENT, "sort_target", watch_store_range(store, &range, NULL));
  range.sort_target = 0;
  range.sort_order = UINT32_MAX;
  REFUSED(WATCH_ERR_INVALID_ARGUMENT, "sort_order", watch_store_range(store, &range, NULL));
  memset(&compare, 0, sizeof compare);
  compare.key = B("a");
  txn.compare = &compare;
  txn.compare_count = 1;
  compare.target = WATCH_COMPARE_LEASE + 1;
  REFUSED(WATCH_ERR_INVALID_ARGUMENT, "watch_compare.target", watch_store_txn(store, &txn, NULL));
  compare.target = 0;
  compare.result = WATCH_NOT_EQUAL + 1;
  REFUSED(WATCH_ERR_INVALID_ARGUMENT, "watch_compare.result", watch_store_txn(store, &txn, NULL));
  REFUSED(WATCH_ERR_INVALID_ARGUMENT, "watch_op.type", run_after_put(op));
}

/* ---- closed handles ---- */

/* etcd 9.5, 9.1 */
static void a_closed_stream_answers_closed(void) {
  watch_stream *closed = open_stream(store);
  watch_create_request create = create_of(ALL_KEY, ALL_END, 0, 0);
  const watch_response *response = NULL;
  size_t count = 0;
  watch_prefix(closed, "a", 1, 0);
  watch_stream_close(closed);
  watch_stream_close(closed);
  REFUSED(WATCH_ERR_CLOSED, "closed", watch_stream_create(closed, &create, NULL));
  REFUSED(WATCH_ERR_CLOSED, "closed", watch_stream_cancel(closed, 1));
  REFUSED(WATCH_ERR_CLOSED, "closed", watch_stream_request_progress(closed));
  REFUSED(WATCH_ERR_CLOSED, "closed", watch_stream_next(closed, -1, &response));
  REFUSED(WATCH_ERR_CLOSED, "closed", watch_stream_next_batch(closed, -1, &response, 1, &count));
  REFUSED(WATCH_ERR_CLOSED, "closed", watch_stream_shutdown(closed));
  REFUSED(-1, "closed", watch_stream_fd(closed));
  CHECK(response == NULL && count == 0);
}

static void refused_by_closed(watch_store *closed) {
  watch_put_request put_request = put_of("a", "9", 0);
  watch_range_request range = range_of("a", "z");
  watch_delete_range_request gone = delete_of("a", "z");
  watch_txn_request txn = txn_of(NULL, 0);
  watch_store_stats stats;
  watch_stream *none = NULL;
  WATCH_INIT(&stats);
  REFUSED(WATCH_ERR_CLOSED, "closed", watch_store_put(closed, B("a"), B("9"), NULL));
  REFUSED(WATCH_ERR_CLOSED, "closed", watch_store_put_with(closed, &put_request, NULL));
  REFUSED(WATCH_ERR_CLOSED, "closed", watch_store_get(closed, B("a"), 0, NULL));
  REFUSED(WATCH_ERR_CLOSED, "closed", watch_store_range(closed, &range, NULL));
  REFUSED(WATCH_ERR_CLOSED, "closed", watch_store_delete(closed, B("a"), NO_BYTES, NULL, NULL));
  REFUSED(WATCH_ERR_CLOSED, "closed", watch_store_delete_with(closed, &gone, NULL));
  REFUSED(WATCH_ERR_CLOSED, "closed", watch_store_txn(closed, &txn, NULL));
  REFUSED(WATCH_ERR_CLOSED, "closed", watch_store_compact(closed, CURRENT, 0));
  REFUSED(WATCH_ERR_CLOSED, "closed", watch_store_sync(closed, 0));
  REFUSED(WATCH_ERR_CLOSED, "closed", watch_stream_open(closed, NULL, &none));
  REFUSED(WATCH_ERR_CLOSED, "closed", watch_store_stats_read(closed, &stats));
  CHECK_INT(0, watch_store_revision(closed));
  CHECK_INT(0, watch_store_compact_revision(closed));
  CHECK_INT(0, watch_store_durable_revision(closed));
  CHECK(none == NULL);
}

/* etcd 9.8, 11.5 */
static void a_closed_store_answers_closed(void) {
  watch_store *closed = open_memory();
  watch_stream *ended = open_stream(closed);
  watch_create_request create = create_of(ALL_KEY, ALL_END, 0, 0);
  const watch_response *response = NULL;
  watch_prefix(ended, "a", 0, 0);
  CHECK_INT(WATCH_OK, watch_store_close(closed));
  refused_by_closed(closed);
  REFUSED(WATCH_ERR_CLOSED, "closed", watch_stream_create(ended, &create, NULL));
  REFUSED(WATCH_ERR_CLOSED, "closed", watch_stream_cancel(ended, 1));
  REFUSED(WATCH_ERR_CLOSED, "closed", watch_stream_request_progress(ended));
  REFUSED(WATCH_ERR_CLOSED, "closed", watch_stream_next(ended, -1, &response));
  watch_stream_close(ended);
}

/* etcd 9.5 */
static void closing_twice_does_nothing(void) {
  char *path = temp_folder();
  watch_store *closed = open_folder(path), *again;
  put(closed, "a", "1");
  CHECK_INT(WATCH_OK, watch_store_close(closed));
  REFUSED(WATCH_ERR_CLOSED, "closed", watch_store_close(closed));
  again = open_folder(path);
  REFUSED(WATCH_ERR_CLOSED, "closed", watch_store_close(closed));
  CHECK_INT(3, put(again, "a", "2")); /* a late close is no business of the next one */
  CHECK_INT(WATCH_OK, watch_store_close(again));
  CHECK_INT(WATCH_OK, watch_store_close(NULL));
  watch_stream_close(NULL);
  remove_folder(path);
}

/* etcd 5.1: what was given stays as it was given */
static void results_stay_valid_after_the_store_closed(void) {
  char *path = temp_folder();
  watch_store *closed = open_folder(path);
  watch_stream *ended = open_stream(closed);
  const watch_response *response;
  const watch_result *result = NULL;
  put(closed, "a", "1");
  watch_prefix(ended, "a", 1, 0);
  response = watch_response_retain(next(ended));
  REQUIRE_OK(watch_store_get(closed, B("a"), 0, &result));
  watch_stream_close(ended);
  CHECK_INT(WATCH_OK, watch_store_close(closed));
  remove_folder(path);
  REQUIRE(result->kv_count == 1 && response->event_count == 1);
  CHECK_BYTES("1", result->kvs[0].value);
  CHECK_BYTES("1", response->events[0].kv.value);
  watch_result_release(result);
  watch_response_release(response);
}

/* ---- folders ---- */

static watch_status open_at(const char *path, uint32_t flags) {
  watch_store_options options;
  watch_store *none = NULL;
  watch_status status;
  WATCH_INIT(&options);
  options.flags = flags;
  options.segment_bytes = SEGMENT_BYTES;
  status = watch_store_open(path, &options, &none);
  CHECK(none == NULL);
  return status;
}

/* etcd 11.1: only what a store wrote is restored */
static void a_path_that_is_no_folder_is_refused(void) {
  char *path = temp_folder(), text[8] = "", below[4096];
  FILE *file = fopen(path, "w");
  REQUIRE(file != NULL && fputs("mine", file) >= 0 && fclose(file) == 0);
  snprintf(below, sizeof below, "%s/below", path);
  REFUSED(WATCH_ERR_IO, path, open_at(path, WATCH_OPEN_CREATE));
  CHECK_INT(EEXIST, last_info().os_error);
  REFUSED(WATCH_ERR_IO, below, open_at(below, WATCH_OPEN_CREATE));
  CHECK_INT(ENOTDIR, last_info().os_error);
  REFUSED(WATCH_ERR_IO, "path", open_at("", WATCH_OPEN_CREATE));
  file = fopen(path, "r");
  REQUIRE(file != NULL && fgets(text, sizeof text, file) != NULL && fclose(file) == 0);
  CHECK_TEXT("mine", text); /* what is not ours is left alone */
  remove_folder(path);
}

/* etcd 11.1 */
static void a_store_that_must_exist_is_not_made(void) {
  char *path = temp_folder();
  REFUSED(WATCH_ERR_IO, path, open_at(path, 0));
  CHECK_INT(ENOENT, last_info().os_error);
  REFUSED(WATCH_ERR_IO, path, open_at(path, WATCH_OPEN_READ_ONLY));
  REFUSED(WATCH_ERR_IO, path, open_at(path, WATCH_OPEN_READ_ONLY | WATCH_OPEN_CREATE));
  CHECK(access(path, F_OK) != 0);
  remove_folder(path);
}

/* etcd 1.13: there is one writer */
static void a_store_that_is_open_is_locked(void) {
  char *path = temp_folder();
  watch_store *holder = open_folder(path);
  put(holder, "a", "1");
  REFUSED(WATCH_ERR_LOCKED, path, open_at(path, WATCH_OPEN_CREATE));
  CHECK_INT(3, put(holder, "a", "2"));
  CHECK_INT(WATCH_OK, watch_store_close(holder));
  remove_folder(path);
}

/* etcd 11.1, 14.11 */
static void a_read_only_store_refuses_writes(void) {
  char *path = temp_folder();
  watch_store *closed = open_folder(path), *reader = NULL;
  watch_store_options options;
  watch_put_request put_request = put_of("a", "2", 0);
  watch_op op = op_put(&put_request);
  watch_txn_request txn = txn_of(&op, 1);
  watch_stream *history;
  put(closed, "a", "1");
  CHECK_INT(WATCH_OK, watch_store_close(closed));
  WATCH_INIT(&options);
  options.flags = WATCH_OPEN_READ_ONLY;
  REQUIRE_OK(watch_store_open(path, &options, &reader));
  history = open_stream(reader);
  watch_prefix(history, "a", 1, 0);
  REFUSED(WATCH_ERR_READ_ONLY, "read-only", watch_store_put(reader, B("a"), B("2"), NULL));
  REFUSED(WATCH_ERR_READ_ONLY, "read-only", watch_store_put_with(reader, &put_request, NULL));
  REFUSED(WATCH_ERR_READ_ONLY, "read-only", watch_store_delete(reader, B("a"), NO_BYTES, NULL, NULL));
  REFUSED(WATCH_ERR_READ_ONLY, "read-only", watch_store_txn(reader, &txn, NULL));
  REFUSED(WATCH_ERR_READ_ONLY, "read-only", watch_store_compact(reader, 2, 0));
  CHECK_INT(2, watch_store_revision(reader));
  CHECK_INT(-1, watch_store_compact_revision(reader));
  check_told(history, 1, "2+a=1 ");
  watch_stream_close(history);
  CHECK_INT(WATCH_OK, watch_store_close(reader));
  remove_folder(path);
}

int main(void) {
  check_start();
  SCENE(a_batch_of_nothing_is_refused);
  SCENE(a_wait_may_be_as_long_as_numbers_go);
  SCENE(a_callback_stream_has_no_consumer_and_no_descriptor);
  SCENE(a_second_consumer_is_told_that_the_stream_is_busy);
  SCENE(unknown_filters_flags_and_numbers_are_refused);
  SCENE(a_closed_stream_answers_closed);
  SCENE(a_closed_store_answers_closed);
  SCENE(closing_twice_does_nothing);
  SCENE(results_stay_valid_after_the_store_closed);
  SCENE(a_path_that_is_no_folder_is_refused);
  SCENE(a_store_that_must_exist_is_not_made);
  SCENE(a_store_that_is_open_is_locked);
  SCENE(a_read_only_store_refuses_writes);
  return check_done();
}
