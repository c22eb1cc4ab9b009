/* Streams in poll mode: creating, what arrives, ids, ends, and the rule of the one consumer. */
#include "support.h"

static void poll_events_in_order(void) {
  watch_store *store = open_memory();
  watch_stream *stream = open_stream(store);
  const watch_response *response = NULL;
  int64_t id;
  CHECK_INT(WATCH_AGAIN, watch_stream_next(stream, 0, &response));
  CHECK(response == NULL);
  id = watch_prefix(stream, "k", 0, 0);
  CHECK_INT(1, id);
  CHECK_INT(WATCH_AGAIN, watch_stream_next(stream, 1, &response));
  put(store, "other", "x");
  put(store, "k1", "one");
  response = next(stream);
  CHECK_INT(id, response->watch_id);
  CHECK_INT(0, response->flags);
  CHECK_INT(3, response->revision);
  CHECK_INT(4, response->resume_revision);
  CHECK_INT(0, response->compact_revision);
  CHECK_TEXT("", response->cancel_reason);
  CHECK(response->watch_data == NULL);
  REQUIRE(response->event_count == 1);
  CHECK_INT(WATCH_EVENT_PUT, response->events[0].type);
  CHECK_INT(0, response->events[0].reserved);
  CHECK_BYTES("k1", response->events[0].kv.key);
  CHECK_BYTES("one", response->events[0].kv.value);
  CHECK_INT(3, response->events[0].kv.create_revision);
  CHECK_INT(3, response->events[0].kv.mod_revision);
  CHECK_INT(1, response->events[0].kv.version);
  CHECK(response->events[0].prev_kv == NULL);
  CHECK_INT(WATCH_OK, watch_store_delete(store, B("k1"), NO_BYTES, NULL, NULL));
  response = next(stream);
  REQUIRE(response->event_count == 1);
  CHECK_INT(WATCH_EVENT_DELETE, response->events[0].type);
  CHECK_BYTES("k1", response->events[0].kv.key);
  CHECK_INT(0, response->events[0].kv.value.len);
  CHECK_INT(4, response->events[0].kv.mod_revision);
  CHECK_INT(0, response->events[0].kv.create_revision);
  CHECK_INT(0, response->events[0].kv.version);
  watch_stream_close(stream);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void poll_history_and_prev_kv(void) {
  watch_store *store = open_memory();
  watch_stream *stream = open_stream(store);
  const watch_response *response;
  size_t seen = 0;
  put(store, "k", "one");   /* 2 */
  put(store, "k", "two");   /* 3 */
  put(store, "k", "three"); /* 4 */
  CHECK_INT(WATCH_OK, watch_store_delete(store, B("k"), NO_BYTES, NULL, NULL)); /* 5 */
  watch_prefix(stream, "k", 2, WATCH_CREATE_PREV_KV);
  while (seen < 4) {
    static const char *const before[] = {NULL, "one", "two", "three"};
    size_t i;
    response = next(stream);
    for (i = 0; i < response->event_count; i++, seen++) {
      const watch_event *event = &response->events[i];
      CHECK_INT((int64_t)seen + 2, event->kv.mod_revision);
      if (before[seen] == NULL) {
        CHECK(event->prev_kv == NULL);
      } else if (CHECK(event->prev_kv != NULL)) {
        CHECK_BYTES(before[seen], event->prev_kv->value);
        CHECK_BYTES("k", event->prev_kv->key);
        CHECK_INT((int64_t)seen + 1, event->prev_kv->mod_revision);
      }
    }
    CHECK_INT((int64_t)seen + 2, response->resume_revision);
  }
  CHECK_INT(4, seen);
  watch_stream_close(stream);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void poll_created_filters_and_data(void) {
  watch_store *store = open_memory();
  watch_stream *stream = open_stream(store);
  watch_create_request request;
  const watch_response *response;
  int64_t id = 0, other = 0;
  int data;
  WATCH_INIT(&request);
  request.key = B("k");
  request.flags = WATCH_CREATE_CREATED_NOTIFY;
  request.filters = WATCH_FILTER_NOPUT;
  request.watch_data = &data;
  request.watch_id = 40;
  CHECK_INT(WATCH_OK, watch_stream_create(stream, &request, &id));
  CHECK_INT(40, id);
  response = next(stream);
  CHECK_INT(WATCH_RESPONSE_CREATED, response->flags);
  CHECK_INT(40, response->watch_id);
  CHECK(response->watch_data == &data);
  CHECK(response->events == NULL && response->event_count == 0);
  request.filters = WATCH_FILTER_NODELETE;
  request.flags = 0;
  request.watch_id = WATCH_ID_AUTO;
  CHECK_INT(WATCH_OK, watch_stream_create(stream, &request, &other));
  CHECK(other > 0 && other != id);
  put(store, "k", "v");
  response = next(stream);
  CHECK_INT(other, response->watch_id);
  CHECK_INT(WATCH_EVENT_PUT, response->events[0].type);
  CHECK_INT(WATCH_OK, watch_store_delete(store, B("k"), NO_BYTES, NULL, NULL));
  response = next(stream);
  CHECK_INT(id, response->watch_id);
  CHECK_INT(WATCH_EVENT_DELETE, response->events[0].type);
  CHECK(response->watch_data == &data);
  CHECK_INT(WATCH_AGAIN, watch_stream_next(stream, 0, &response));
  watch_stream_close(stream);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void poll_ids_and_cancel(void) {
  watch_store *store = open_memory();
  watch_stream *stream = open_stream(store);
  watch_create_request request;
  const watch_response *response;
  int64_t id = 7;
  WATCH_INIT(&request);
  request.key = B("k");
  request.watch_id = 5;
  CHECK_INT(WATCH_OK, watch_stream_create(stream, &request, NULL));
  CHECK_INT(WATCH_ERR_DUPLICATE_WATCH_ID, watch_stream_create(stream, &request, &id));
  CHECK_INT(7, id);
  request.watch_id = -1;
  CHECK_INT(WATCH_ERR_INVALID_ARGUMENT, watch_stream_create(stream, &request, &id));
  request.watch_id = 0;
  request.start_revision = -3;
  CHECK_INT(WATCH_ERR_INVALID_ARGUMENT, watch_stream_create(stream, &request, &id));
  request.start_revision = 0;
  request.key = B("b");
  request.range_end = B("a");
  CHECK_INT(WATCH_ERR_EMPTY_RANGE, watch_stream_create(stream, &request, &id));
  CHECK_INT(WATCH_ERR_WATCH_NOT_FOUND, watch_stream_cancel(stream, 99));
  CHECK_INT(WATCH_OK, watch_stream_cancel(stream, 5));
  response = next(stream);
  CHECK_INT(WATCH_RESPONSE_CANCELED, response->flags);
  CHECK_INT(5, response->watch_id);
  CHECK_INT(WATCH_OK, response->cancel_status);
  CHECK_TEXT("", response->cancel_reason);
  CHECK_INT(WATCH_ERR_WATCH_NOT_FOUND, watch_stream_cancel(stream, 5));
  put(store, "k", "v");
  CHECK_INT(WATCH_AGAIN, watch_stream_next(stream, 0, &response));
  /* The id is free again. */
  request.key = B("k");
  request.range_end = NO_BYTES;
  request.watch_id = 5;
  CHECK_INT(WATCH_OK, watch_stream_create(stream, &request, &id));
  CHECK_INT(5, id);
  watch_stream_close(stream);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void poll_whole_keyspace_and_future_start(void) {
  watch_store *store = open_memory();
  watch_stream *stream = open_stream(store);
  watch_create_request request;
  const watch_response *response;
  WATCH_INIT(&request);
  request.range_end = ALL_END; /* an empty key stands for "\0" */
  request.start_revision = 4;
  CHECK_INT(WATCH_OK, watch_stream_create(stream, &request, NULL));
  put(store, "a", "2");
  put(store, "b", "3");
  put(store, "c", "4");
  response = next(stream);
  REQUIRE(response->event_count == 1);
  CHECK_BYTES("c", response->events[0].kv.key);
  watch_stream_close(stream);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void poll_batches(void) {
  enum { PUTS = 100 };
  watch_store *store = open_memory();
  watch_stream *stream = NULL;
  watch_stream_options options;
  const watch_response *responses[8] = {NULL};
  size_t count = 9, i, j;
  int64_t seen = 0;
  WATCH_INIT(&options);
  options.batch_revisions = 1;
  REQUIRE_OK(watch_stream_open(store, &options, &stream));
  CHECK_INT(WATCH_AGAIN, watch_stream_next_batch(stream, 0, responses, 8, &count));
  CHECK_INT(0, count);
  for (i = 0; i < PUTS; i++) {
    put(store, "k", "v");
  }
  watch_prefix(stream, "k", 2, 0);
  while (seen < PUTS) {
    REQUIRE_OK(watch_stream_next_batch(stream, -1, responses, 8, &count));
    REQUIRE(count >= 1 && count <= 8);
    for (i = 0; i < count; i++) {
      CHECK_INT(1, responses[i]->event_count);
      for (j = 0; j < responses[i]->event_count; j++) {
        CHECK_INT(seen + 2, responses[i]->events[j].kv.mod_revision);
        seen++;
      }
    }
  }
  CHECK_INT(WATCH_AGAIN, watch_stream_next_batch(stream, 0, responses, 8, &count));
  CHECK_INT(WATCH_ERR_INVALID_ARGUMENT, watch_stream_next_batch(stream, 0, responses, 0, &count));
  watch_stream_close(stream);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void poll_fragments(void) {
  watch_store *store = NULL;
  watch_stream *stream;
  watch_store_options options;
  watch_put_request puts[10];
  watch_op ops[10];
  watch_txn_request txn;
  const watch_response *response;
  char keys[10][4], value[300];
  size_t i, seen = 0, parts = 0;
  WATCH_INIT(&options);
  options.flags = WATCH_OPEN_MEMORY;
  options.fragment_bytes = 1000;
  REQUIRE_OK(watch_store_open(NULL, &options, &store));
  stream = open_stream(store);
  watch_prefix(stream, "k", 0, WATCH_CREATE_FRAGMENT);
  memset(value, 'v', sizeof value);
  for (i = 0; i < 10; i++) {
    snprintf(keys[i], sizeof keys[i], "k%zu", i);
    WATCH_INIT(&puts[i]);
    puts[i].key = B(keys[i]);
    puts[i].value = watch_bytes_of(value, sizeof value);
    ops[i].type = WATCH_OP_PUT;
    ops[i].reserved = 0;
    ops[i].request.put = &puts[i];
  }
  WATCH_INIT(&txn);
  txn.success = ops;
  txn.success_count = 10;
  REQUIRE_OK(watch_store_txn(store, &txn, NULL));
  do {
    response = next(stream);
    parts++;
    for (i = 0; i < response->event_count; i++, seen++) {
      CHECK_BYTES(keys[seen], response->events[i].kv.key);
    }
    CHECK_INT(response->flags & WATCH_RESPONSE_FRAGMENT ? 0 : 3, response->resume_revision);
  } while (response->flags & WATCH_RESPONSE_FRAGMENT);
  CHECK_INT(10, seen);
  CHECK(parts > 1);
  watch_stream_close(stream);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void poll_shutdown_wakes_the_consumer(void) {
  watch_store *store = open_memory();
  watch_stream *stream = open_stream(store);
  const watch_response *response = NULL;
  watch_create_request request;
  CHECK_INT(WATCH_OK, watch_stream_shutdown(stream));
  CHECK_INT(WATCH_OK, watch_stream_shutdown(stream));
  CHECK_INT(WATCH_ERR_CLOSED, watch_stream_next(stream, -1, &response));
  WATCH_INIT(&request);
  request.key = B("k");
  CHECK_INT(WATCH_ERR_CLOSED, watch_stream_create(stream, &request, NULL));
  CHECK_INT(WATCH_ERR_CLOSED, watch_stream_request_progress(stream));
  watch_stream_close(stream);
  watch_stream_close(NULL);
  /* Late calls are told. */
  CHECK_INT(WATCH_ERR_CLOSED, watch_stream_next(stream, 0, &response));
  CHECK_INT(WATCH_ERR_CLOSED, watch_stream_shutdown(stream));
  CHECK_INT(WATCH_ERR_CLOSED, watch_stream_cancel(stream, 1));
  CHECK_INT(-1, watch_stream_fd(stream));
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void poll_store_close_ends_streams(void) {
  watch_store *store = open_memory();
  watch_stream *stream = open_stream(store);
  const watch_response *response = NULL;
  watch_prefix(stream, "k", 0, 0);
  CHECK_INT(WATCH_OK, watch_store_close(store));
  CHECK_INT(WATCH_ERR_CLOSED, watch_stream_next(stream, -1, &response));
  CHECK_INT(WATCH_ERR_CLOSED, watch_stream_cancel(stream, 1));
  watch_stream_close(stream);
}

struct consumer {
  watch_stream *stream;
  watch_status status;
};

static void *consume_until_closed(void *argument) {
  struct consumer *consumer = argument;
  const watch_response *response = NULL;
  do {
    consumer->status = watch_stream_next(consumer->stream, -1, &response);
  } while (consumer->status == WATCH_ERR_BUSY);
  return NULL;
}

static void poll_second_consumer_is_busy(void) {
  watch_store *store = open_memory();
  struct consumer consumer = {open_stream(store), WATCH_OK};
  const watch_response *response = NULL, *batch[1];
  size_t count;
  pthread_t thread;
  watch_status status;
  REQUIRE(pthread_create(&thread, NULL, consume_until_closed, &consumer) == 0);
  /* AGAIN until the other thread is inside for good. */
  do {
    status = watch_stream_next(consumer.stream, 0, &response);
  } while (status == WATCH_AGAIN);
  CHECK_INT(WATCH_ERR_BUSY, status);
  CHECK_INT(WATCH_ERR_BUSY, watch_stream_next_batch(consumer.stream, 0, batch, 1, &count));
  /* Everything else may be called meanwhile. */
  CHECK(watch_stream_fd(consumer.stream) >= 0);
  CHECK_INT(WATCH_OK, watch_stream_shutdown(consumer.stream));
  REQUIRE(pthread_join(thread, NULL) == 0);
  CHECK_INT(WATCH_ERR_CLOSED, consumer.status);
  watch_stream_close(consumer.stream);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void *consume_once(void *argument) {
  struct consumer *consumer = argument;
  const watch_response *response = NULL;
  consumer->status = watch_stream_next(consumer->stream, -1, &response);
  return NULL;
}

/* A bug of the caller, but one that is seen: the consumer is told and nothing is freed under it. */
static void poll_close_with_a_consumer_inside(void) {
  watch_store *store = open_memory();
  struct consumer consumer = {open_stream(store), WATCH_OK};
  pthread_t thread;
  REQUIRE(pthread_create(&thread, NULL, consume_once, &consumer) == 0);
  watch_stream_close(consumer.stream);
  REQUIRE(pthread_join(thread, NULL) == 0);
  CHECK_INT(WATCH_ERR_CLOSED, consumer.status);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void poll_user_data_without_callback_is_ended_too(void) {
  watch_store *store = open_memory();
  watch_stream *stream = NULL;
  watch_stream_options options;
  static counter destroyed = COUNTER_INIT;
  WATCH_INIT(&options);
  options.user_data = &destroyed;
  options.destroy = count_destroy;
  REQUIRE_OK(watch_stream_open(store, &options, &stream));
  CHECK_INT(0, counter_get(&destroyed));
  watch_stream_close(stream);
  CHECK_INT(1, counter_get(&destroyed));
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

int main(void) {
  check_start();
  RUN(poll_events_in_order);
  RUN(poll_history_and_prev_kv);
  RUN(poll_created_filters_and_data);
  RUN(poll_ids_and_cancel);
  RUN(poll_whole_keyspace_and_future_start);
  RUN(poll_batches);
  RUN(poll_fragments);
  RUN(poll_shutdown_wakes_the_consumer);
  RUN(poll_store_close_ends_streams);
  RUN(poll_second_consumer_is_busy);
  RUN(poll_close_with_a_consumer_inside);
  RUN(poll_user_data_without_callback_is_ended_too);
  return check_done();
}
