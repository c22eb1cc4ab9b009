/* Callback streams: what a callback may answer and may do, and that destroy runs exactly once. */
#include "support.h"

/* One callback stream under test; the fields belong to the callback until a counter says otherwise. */
struct session {
  watch_store *store;
  watch_stream *handle; /* as the callback saw it */
  watch_status answer;
  int again;            /* times to answer AGAIN first */
  int64_t id, revision;
  watch_status cancel_status;
  int made;
  counter calls, events, canceled, destroyed;
};

static void session_init(struct session *s, watch_store *store) {
  static const counter fresh = COUNTER_INIT;
  memset(s, 0, sizeof *s);
  s->calls = s->events = s->canceled = s->destroyed = fresh;
  s->store = store;
}

static void session_destroy(void *user_data) {
  counter_add(&((struct session *)user_data)->destroyed, 1);
}

static void session_note(struct session *s, watch_stream *stream, const watch_response *response) {
  s->handle = stream;
  s->id = response->watch_id;
  s->revision = response->event_count > 0 ? response->events[response->event_count - 1].kv.mod_revision : 0;
  if (response->flags & WATCH_RESPONSE_CANCELED) {
    s->cancel_status = response->cancel_status;
    counter_add(&s->canceled, 1);
  }
  counter_add(&s->events, (int)response->event_count);
  counter_add(&s->calls, 1);
}

static watch_stream *session_open(struct session *s, watch_response_fn function) {
  watch_stream_options options;
  watch_stream *stream = NULL;
  WATCH_INIT(&options);
  options.on_response = function;
  options.user_data = s;
  options.destroy = session_destroy;
  REQUIRE_OK(watch_stream_open(s->store, &options, &stream));
  return stream;
}

static watch_status take(void *user_data, watch_stream *stream, const watch_response *response) {
  session_note(user_data, stream, response);
  return WATCH_OK;
}

static void callback_gets_each_event_and_the_handle(void) {
  watch_store *store = open_memory();
  struct session s;
  watch_stream *stream;
  const watch_response *response = NULL;
  size_t count = 0;
  int i;
  session_init(&s, store);
  stream = session_open(&s, take);
  watch_prefix(stream, "k", 0, 0);
  for (i = 0; i < 50; i++) {
    put(store, "k", "v");
  }
  counter_wait(&s.events, 50);
  CHECK_INT(WATCH_ERR_INVALID_STATE, watch_stream_next(stream, 0, &response));
  CHECK_INT(WATCH_ERR_INVALID_STATE, watch_stream_next_batch(stream, 0, &response, 1, &count));
  CHECK_INT(-1, watch_stream_fd(stream));
  CHECK_INT(0, counter_get(&s.destroyed));
  watch_stream_close(stream);
  CHECK(s.handle == stream);
  CHECK_INT(1, counter_get(&s.destroyed));
  CHECK_INT(50, counter_get(&s.events));
  CHECK_INT(51, s.revision);
  CHECK_INT(WATCH_OK, watch_store_close(store));
  CHECK_INT(1, counter_get(&s.destroyed));
}

static watch_status not_now(void *user_data, watch_stream *stream, const watch_response *response) {
  struct session *s = user_data;
  if (response->event_count > 0 && s->again > 0) {
    /* What is offered again is the same. */
    CHECK_INT(2, response->events[0].kv.mod_revision);
    s->again--;
    counter_add(&s->calls, 1);
    return WATCH_AGAIN;
  }
  session_note(s, stream, response);
  return WATCH_OK;
}

static void callback_again_offers_the_same_again(void) {
  watch_store *store = open_memory();
  struct session s;
  watch_stream *stream;
  session_init(&s, store);
  s.again = 3;
  stream = session_open(&s, not_now);
  watch_prefix(stream, "k", 0, 0);
  put(store, "k", "v");
  put(store, "k", "w");
  counter_wait(&s.events, 2);
  watch_stream_close(stream);
  CHECK_INT(0, s.again);
  CHECK(counter_get(&s.calls) >= 4);
  CHECK_INT(2, counter_get(&s.events));
  CHECK_INT(3, s.revision);
  CHECK_INT(1, counter_get(&s.destroyed));
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static watch_status again_for_one(void *user_data, watch_stream *stream, const watch_response *response) {
  struct session *s = user_data;
  /* Watch 1 is held back for as long as watch 2 has not been served. */
  if (response->watch_id == 1 && counter_get(&s->calls) == 0) {
    return WATCH_AGAIN;
  }
  session_note(s, stream, response);
  return WATCH_OK;
}

static void callback_again_holds_back_one_watch(void) {
  watch_store *store = open_memory();
  struct session s;
  watch_stream *stream;
  session_init(&s, store);
  stream = session_open(&s, again_for_one);
  CHECK_INT(1, watch_prefix(stream, "a", 0, 0));
  CHECK_INT(2, watch_prefix(stream, "b", 0, 0));
  put(store, "a", "v");
  put(store, "b", "v");
  counter_wait(&s.events, 2);
  watch_stream_close(stream);
  CHECK_INT(1, s.id);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static watch_status refuse(void *user_data, watch_stream *stream, const watch_response *response) {
  struct session *s = user_data;
  session_note(s, stream, response);
  return response->event_count > 0 ? s->answer : WATCH_OK;
}

static void callback_negative_cancels_the_watch(void) {
  static const struct {
    watch_status answer, canceled;
  } rows[] = {{WATCH_ERR_NO_MEMORY, WATCH_ERR_NO_MEMORY}, {-12345, WATCH_ERR_INVALID_ARGUMENT},
              {17, WATCH_ERR_INVALID_ARGUMENT}};
  size_t i;
  for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    watch_store *store = open_memory();
    struct session s;
    watch_stream *stream;
    int64_t id, other;
    session_init(&s, store);
    s.answer = rows[i].answer;
    stream = session_open(&s, refuse);
    id = watch_prefix(stream, "k", 0, 0);
    put(store, "k", "v");
    counter_wait(&s.canceled, 1);
    CHECK_INT(rows[i].canceled, s.cancel_status);
    CHECK_INT(id, s.id);
    CHECK_INT(WATCH_ERR_WATCH_NOT_FOUND, watch_stream_cancel(stream, id));
    /* The stream goes on. */
    other = watch_prefix(stream, "o", 0, WATCH_CREATE_CREATED_NOTIFY);
    CHECK(other != id);
    counter_wait(&s.calls, 3);
    watch_stream_close(stream);
    CHECK_INT(1, counter_get(&s.events));
    CHECK_INT(1, counter_get(&s.canceled));
    CHECK_INT(1, counter_get(&s.destroyed));
    CHECK_INT(WATCH_OK, watch_store_close(store));
  }
}

static watch_status close_own(void *user_data, watch_stream *stream, const watch_response *response) {
  struct session *s = user_data;
  (void)response;
  watch_stream_close(stream);
  /* The rest happens when this returns: nothing is destroyed yet, and the handle answers. */
  CHECK_INT(0, counter_get(&s->destroyed));
  CHECK_INT(WATCH_ERR_CLOSED, watch_stream_shutdown(stream));
  counter_add(&s->calls, 1);
  return WATCH_OK;
}

static void callback_closes_its_own_stream(void) {
  watch_store *store = open_memory();
  struct session s;
  session_init(&s, store);
  watch_prefix(session_open(&s, close_own), "k", 0, 0);
  put(store, "k", "v");
  counter_wait(&s.destroyed, 1);
  CHECK_INT(1, counter_get(&s.calls));
  put(store, "k", "v");
  CHECK_INT(WATCH_OK, watch_store_close(store));
  CHECK_INT(1, counter_get(&s.calls));
  CHECK_INT(1, counter_get(&s.destroyed));
}

/* More handles than wait in the pool before the oldest is used again. */
enum { MANY = 100 };

static watch_status close_own_and_open_others(void *user_data, watch_stream *stream,
                                              const watch_response *response) {
  struct session *s = user_data;
  watch_stream *others[MANY];
  int round, i;
  (void)response;
  watch_stream_close(stream);
  for (round = 0; round < 2; round++) {
    for (i = 0; i < MANY; i++) {
      others[i] = open_stream(s->store);
      CHECK(others[i] != stream);
    }
    for (i = 0; i < MANY; i++) {
      watch_stream_close(others[i]);
    }
  }
  counter_add(&s->calls, 1);
  return WATCH_OK;
}

static void callback_keeps_its_closed_handle_to_itself(void) {
  watch_store *store = open_memory();
  struct session s;
  session_init(&s, store);
  watch_prefix(session_open(&s, close_own_and_open_others), "k", 0, 0);
  put(store, "k", "v");
  counter_wait(&s.destroyed, 1);
  CHECK_INT(1, counter_get(&s.calls));
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static watch_status close_store(void *user_data, watch_stream *stream, const watch_response *response) {
  struct session *s = user_data;
  if (counter_get(&s->calls) == 0) {
    CHECK_INT(WATCH_OK, watch_store_close(s->store));
    CHECK_INT(WATCH_ERR_CLOSED, watch_store_put(s->store, B("k"), B("v"), NULL));
    /* What was lent stays readable for as long as the callback runs. */
    CHECK_BYTES("v", response->events[0].kv.value);
  }
  session_note(s, stream, response);
  return WATCH_OK;
}

static void callback_closes_the_store(void) {
  watch_store *store = open_memory();
  struct session s;
  watch_stream *stream;
  session_init(&s, store);
  stream = session_open(&s, close_store);
  watch_prefix(stream, "k", 0, 0);
  put(store, "k", "v");
  counter_wait(&s.destroyed, 1);
  CHECK_INT(WATCH_ERR_CLOSED, s.cancel_status);
  CHECK_INT(1, counter_get(&s.canceled));
  CHECK_INT(2, counter_get(&s.calls));
  watch_stream_close(stream);
  CHECK_INT(1, counter_get(&s.destroyed));
}

static void store_close_ends_each_watch_once(void) {
  watch_store *store = open_memory();
  struct session s;
  watch_stream *stream;
  session_init(&s, store);
  stream = session_open(&s, take);
  watch_prefix(stream, "a", 0, 0);
  watch_prefix(stream, "b", 0, 0);
  CHECK_INT(WATCH_OK, watch_store_close(store));
  counter_wait(&s.destroyed, 1);
  CHECK_INT(2, counter_get(&s.canceled));
  CHECK_INT(WATCH_ERR_CLOSED, s.cancel_status);
  watch_stream_close(stream);
  CHECK_INT(1, counter_get(&s.destroyed));
}

/* The first event makes a second watch, whose first event ends the first one. */
static watch_status make_and_end(void *user_data, watch_stream *stream, const watch_response *response) {
  struct session *s = user_data;
  if (response->event_count > 0 && response->watch_id == 1) {
    s->made = (int)watch_prefix(stream, "made", 0, 0);
    put(s->store, "made", "from the callback");
  } else if (response->event_count > 0) {
    CHECK_INT(s->made, response->watch_id);
    CHECK_INT(WATCH_OK, watch_stream_cancel(stream, 1));
    CHECK_INT(WATCH_OK, watch_stream_request_progress(stream));
  }
  session_note(s, stream, response);
  if (response->flags & WATCH_RESPONSE_PROGRESS) {
    counter_set(&s->calls, 100);
  }
  return WATCH_OK;
}

static void callback_creates_and_cancels_watches(void) {
  watch_store *store = open_memory();
  struct session s;
  watch_stream *stream;
  session_init(&s, store);
  stream = session_open(&s, make_and_end);
  CHECK_INT(1, watch_prefix(stream, "k", 0, 0));
  put(store, "k", "v");
  counter_wait(&s.canceled, 1);
  counter_wait(&s.calls, 100);
  CHECK_INT(WATCH_OK, s.cancel_status);
  CHECK_INT(2, counter_get(&s.events));
  watch_stream_close(stream);
  CHECK_INT(WATCH_OK, watch_store_close(store));
  CHECK_INT(1, counter_get(&s.destroyed));
}

static void destroy_runs_once_when_opening_fails(void) {
  watch_store *store = open_memory();
  struct longer {
    watch_stream_options options;
    uint64_t added;
  } longer;
  watch_stream_options options;
  watch_stream *stream = NULL;
  counter destroyed = COUNTER_INIT;
  WATCH_INIT(&options);
  options.on_response = take;
  options.user_data = &destroyed;
  options.destroy = count_destroy;
  CHECK_INT(WATCH_ERR_INVALID_ARGUMENT, watch_stream_open(NULL, &options, &stream));
  CHECK_INT(1, counter_get(&destroyed));
  CHECK_INT(WATCH_ERR_INVALID_ARGUMENT, watch_stream_open(store, &options, NULL));
  CHECK_INT(2, counter_get(&destroyed));
  options.flags = 1;
  CHECK_INT(WATCH_ERR_UNSUPPORTED, watch_stream_open(store, &options, &stream));
  CHECK_INT(3, counter_get(&destroyed));
  memset(&longer, 0, sizeof longer);
  options.flags = 0;
  longer.options = options;
  longer.options.size = sizeof longer;
  longer.added = 1;
  CHECK_INT(WATCH_ERR_UNSUPPORTED, watch_stream_open(store, &longer.options, &stream));
  CHECK_INT(4, counter_get(&destroyed));
  CHECK_INT(WATCH_OK, watch_store_close(store));
  CHECK_INT(WATCH_ERR_CLOSED, watch_stream_open(store, &options, &stream));
  CHECK_INT(5, counter_get(&destroyed));
  CHECK(stream == NULL);
}

static watch_status hold(void *user_data, watch_stream *stream, const watch_response *response) {
  struct session *s = user_data;
  session_note(s, stream, response);
  counter_wait(&s->calls, 10);
  return WATCH_OK;
}

static void *close_stream(void *argument) {
  struct session *s = argument;
  watch_stream_close(s->handle);
  counter_add(&s->canceled, 1);
  return NULL;
}

static void close_waits_for_the_running_callback(void) {
  watch_store *store = open_memory();
  struct session s;
  watch_stream *stream;
  pthread_t thread;
  session_init(&s, store);
  stream = session_open(&s, hold);
  watch_prefix(stream, "k", 0, 0);
  put(store, "k", "v");
  counter_wait(&s.calls, 1);
  REQUIRE(pthread_create(&thread, NULL, close_stream, &s) == 0);
  /* Whenever one looks, a close that has returned has waited for the callback. */
  CHECK_INT(0, counter_get(&s.canceled));
  CHECK_INT(0, counter_get(&s.destroyed));
  counter_set(&s.calls, 10);
  REQUIRE(pthread_join(thread, NULL) == 0);
  CHECK_INT(1, counter_get(&s.destroyed));
  CHECK_INT(1, counter_get(&s.canceled));
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void shutdown_stops_the_callbacks(void) {
  watch_store *store = open_memory();
  struct session s;
  watch_stream *stream;
  session_init(&s, store);
  stream = session_open(&s, take);
  watch_prefix(stream, "k", 0, 0);
  put(store, "k", "v");
  counter_wait(&s.events, 1);
  /* shutdown stops the callbacks; what is put afterwards reaches nobody. */
  CHECK_INT(WATCH_OK, watch_stream_shutdown(stream));
  put(store, "k", "w");
  watch_stream_close(stream);
  CHECK_INT(1, counter_get(&s.events));
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

int main(void) {
  check_start();
  RUN(callback_gets_each_event_and_the_handle);
  RUN(callback_again_offers_the_same_again);
  RUN(callback_again_holds_back_one_watch);
  RUN(callback_negative_cancels_the_watch);
  RUN(callback_closes_its_own_stream);
  RUN(callback_keeps_its_closed_handle_to_itself);
  RUN(callback_closes_the_store);
  RUN(store_close_ends_each_watch_once);
  RUN(callback_creates_and_cancels_watches);
  RUN(destroy_runs_once_when_opening_fails);
  RUN(close_waits_for_the_running_callback);
  RUN(shutdown_stops_the_callbacks);
  return check_done();
}
