/* Many threads on one store and one stream. */
#include "support.h"

enum { THREADS = 4, PUTS = 200 };

struct worker {
  pthread_t thread;
  watch_store *store;
  watch_stream *stream;
  int number;
  int done;
  watch_status status;
};

static void *put_and_get(void *argument) {
  struct worker *w = argument;
  char key[32], value[32];
  int i;
  for (i = 0; i < PUTS; i++) {
    const watch_result *result = NULL;
    int64_t revision = 0;
    snprintf(key, sizeof key, "k/%d/%d", w->number, i);
    snprintf(value, sizeof value, "%d-%d", w->number, i);
    CHECK_INT(WATCH_OK, watch_store_put(w->store, B(key), B(value), &revision));
    CHECK_INT(WATCH_OK, watch_store_get(w->store, B(key), 0, &result));
    if (CHECK(result != NULL && result->kv_count == 1)) {
      CHECK_BYTES(value, result->kvs[0].value);
      CHECK_INT(revision, result->kvs[0].mod_revision);
    }
    watch_result_release(result);
  }
  return NULL;
}

static void start(struct worker *workers, int count, void *(*function)(void *), watch_store *store,
                  watch_stream *stream) {
  int i;
  for (i = 0; i < count; i++) {
    workers[i].store = store;
    workers[i].stream = stream;
    workers[i].number = i;
    workers[i].done = 0;
    workers[i].status = WATCH_OK;
    REQUIRE(pthread_create(&workers[i].thread, NULL, function, &workers[i]) == 0);
  }
}

static void join(struct worker *workers, int count) {
  int i;
  for (i = 0; i < count; i++) {
    REQUIRE(pthread_join(workers[i].thread, NULL) == 0);
  }
}

static void threads_write_while_one_watches(void) {
  struct worker workers[THREADS];
  watch_store *store = open_memory();
  watch_stream *stream = open_stream(store);
  int64_t expected = 2;
  watch_prefix(stream, "k/", 0, 0);
  start(workers, THREADS, put_and_get, store, stream);
  while (expected < 2 + THREADS * PUTS) {
    const watch_response *response = next(stream);
    size_t i;
    for (i = 0; i < response->event_count; i++, expected++) {
      CHECK_INT(expected, response->events[i].kv.mod_revision);
    }
  }
  join(workers, THREADS);
  CHECK_INT(1 + THREADS * PUTS, watch_store_revision(store));
  watch_stream_close(stream);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void *create_and_cancel(void *argument) {
  struct worker *w = argument;
  int i;
  for (i = 0; i < PUTS; i++) {
    watch_create_request request;
    int64_t id = 0;
    WATCH_INIT(&request);
    request.key = B("never");
    CHECK_INT(WATCH_OK, watch_stream_create(w->stream, &request, &id));
    CHECK_INT(WATCH_OK, watch_stream_cancel(w->stream, id));
  }
  return NULL;
}

static void threads_create_and_cancel_on_one_stream(void) {
  struct worker workers[THREADS];
  watch_store *store = open_memory();
  watch_stream *stream = open_stream(store);
  int canceled = 0;
  start(workers, THREADS, create_and_cancel, store, stream);
  while (canceled < THREADS * PUTS) {
    const watch_response *responses[32] = {NULL};
    size_t count = 0, i;
    REQUIRE_OK(watch_stream_next_batch(stream, -1, responses, 32, &count));
    for (i = 0; i < count; i++) {
      CHECK_INT(WATCH_RESPONSE_CANCELED, responses[i]->flags);
      canceled++;
    }
  }
  join(workers, THREADS);
  CHECK_INT(THREADS * PUTS, canceled);
  watch_stream_close(stream);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void *put_until_closed(void *argument) {
  struct worker *w = argument;
  do {
    w->status = watch_store_put(w->store, B("k"), B("v"), NULL);
    w->done++;
  } while (w->status == WATCH_OK);
  return NULL;
}

static void *read_until_closed(void *argument) {
  struct worker *w = argument;
  do {
    const watch_result *result = NULL;
    w->status = watch_store_get(w->store, B("k"), 0, &result);
    watch_result_release(result);
  } while (w->status == WATCH_OK);
  return NULL;
}

static void threads_are_told_of_the_close(void) {
  struct worker writers[2], readers[2];
  watch_store *store = open_memory();
  int i;
  start(writers, 2, put_until_closed, store, NULL);
  start(readers, 2, read_until_closed, store, NULL);
  while (watch_store_revision(store) < 100) {
    /* until the writers are at work */
  }
  CHECK_INT(WATCH_OK, watch_store_close(store));
  join(writers, 2);
  join(readers, 2);
  for (i = 0; i < 2; i++) {
    CHECK_INT(WATCH_ERR_CLOSED, writers[i].status);
    CHECK_INT(WATCH_ERR_CLOSED, readers[i].status);
  }
}

static watch_status count_events(void *user_data, watch_stream *stream, const watch_response *response) {
  (void)stream;
  counter_add(user_data, (int)response->event_count);
  return WATCH_OK;
}

static void threads_serve_many_callback_streams(void) {
  enum { STREAMS = 8 };
  struct worker workers[THREADS];
  counter events[STREAMS];
  watch_stream *streams[STREAMS];
  watch_store *store = open_memory();
  static const counter fresh = COUNTER_INIT;
  int i;
  for (i = 0; i < STREAMS; i++) {
    watch_stream_options options;
    events[i] = fresh;
    WATCH_INIT(&options);
    options.on_response = count_events;
    options.user_data = &events[i];
    REQUIRE_OK(watch_stream_open(store, &options, &streams[i]));
    watch_prefix(streams[i], "k/", 0, 0);
  }
  start(workers, THREADS, put_and_get, store, NULL);
  for (i = 0; i < STREAMS; i++) {
    counter_wait(&events[i], THREADS * PUTS);
  }
  join(workers, THREADS);
  for (i = 0; i < STREAMS; i++) {
    watch_stream_close(streams[i]);
    CHECK_INT(THREADS * PUTS, counter_get(&events[i]));
  }
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void *open_and_close_streams(void *argument) {
  struct worker *w = argument;
  int i;
  for (i = 0; i < PUTS; i++) {
    watch_stream *stream = open_stream(w->store);
    watch_prefix(stream, "k", 0, 0);
    watch_stream_close(stream);
  }
  return NULL;
}

static void threads_open_and_close_streams(void) {
  struct worker workers[THREADS];
  watch_store *store = open_memory();
  start(workers, THREADS, open_and_close_streams, store, NULL);
  join(workers, THREADS);
  put(store, "k", "v");
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

int main(void) {
  check_start();
  RUN(threads_write_while_one_watches);
  RUN(threads_create_and_cancel_on_one_stream);
  RUN(threads_are_told_of_the_close);
  RUN(threads_serve_many_callback_streams);
  RUN(threads_open_and_close_streams);
  return check_done();
}
