/* Progress: asked for, and periodic. */
#include "support.h"

static void progress_on_request(void) {
  watch_store *store = open_memory();
  watch_stream *stream = open_stream(store);
  const watch_response *response;
  int64_t last = 0;
  put(store, "k", "v");
  watch_prefix(stream, "k", 2, 0);
  put(store, "k", "w");
  CHECK_INT(WATCH_OK, watch_stream_request_progress(stream));
  for (;;) {
    response = next(stream);
    if (response->flags & WATCH_RESPONSE_PROGRESS) {
      break;
    }
    last = response->events[response->event_count - 1].kv.mod_revision;
  }
  CHECK_INT(WATCH_RESPONSE_PROGRESS, response->flags);
  CHECK_INT(WATCH_ID_NONE, response->watch_id);
  CHECK_INT(3, last);
  CHECK_INT(3, response->revision);
  CHECK_INT(4, response->resume_revision);
  CHECK_INT(0, response->event_count);
  CHECK_INT(WATCH_AGAIN, watch_stream_next(stream, 0, &response));
  watch_stream_close(stream);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void progress_does_not_wait_for_the_future(void) {
  watch_store *store = open_memory();
  watch_stream *stream = open_stream(store);
  const watch_response *response;
  watch_prefix(stream, "k", 1000, 0);
  CHECK_INT(WATCH_OK, watch_stream_request_progress(stream));
  response = next(stream);
  CHECK_INT(WATCH_RESPONSE_PROGRESS, response->flags);
  CHECK_INT(1, response->revision);
  watch_stream_close(stream);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void progress_comes_by_itself(void) {
  watch_store *store = NULL;
  watch_stream *stream;
  watch_store_options options;
  const watch_response *response;
  int64_t id;
  WATCH_INIT(&options);
  options.flags = WATCH_OPEN_MEMORY;
  options.progress_interval_ms = 100;
  REQUIRE_OK(watch_store_open(NULL, &options, &store));
  stream = open_stream(store);
  put(store, "elsewhere", "v");
  id = watch_prefix(stream, "k", 0, WATCH_CREATE_PROGRESS_NOTIFY);
  watch_prefix(stream, "k", 0, 0); /* did not ask for it */
  response = next(stream);
  CHECK_INT(WATCH_RESPONSE_PROGRESS, response->flags);
  CHECK_INT(id, response->watch_id);
  CHECK_INT(2, response->revision);
  CHECK_INT(3, response->resume_revision);
  response = next(stream);
  CHECK_INT(WATCH_RESPONSE_PROGRESS, response->flags);
  CHECK_INT(id, response->watch_id);
  watch_stream_close(stream);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

int main(void) {
  check_start();
  RUN(progress_on_request);
  RUN(progress_does_not_wait_for_the_future);
  RUN(progress_comes_by_itself);
  return check_done();
}
