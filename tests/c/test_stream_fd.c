/* The file descriptor is readable exactly while something is queued or the stream has ended. */
#include "support.h"

#include <poll.h>

static int readable(int fd, int timeout_ms) {
  struct pollfd entry;
  entry.fd = fd;
  entry.events = POLLIN;
  entry.revents = 0;
  REQUIRE(poll(&entry, 1, timeout_ms) >= 0);
  return (entry.revents & POLLIN) != 0;
}

/* Takes everything that is there; the number of events. */
static int drain(watch_stream *stream) {
  const watch_response *response = NULL;
  watch_status status;
  int events = 0;
  while ((status = watch_stream_next(stream, 0, &response)) == WATCH_OK) {
    events += (int)response->event_count;
  }
  CHECK_INT(WATCH_AGAIN, status);
  return events;
}

static void fd_follows_the_queue(void) {
  watch_store *store = open_memory();
  watch_stream *stream = open_stream(store);
  int fd = watch_stream_fd(stream);
  int round, events;
  REQUIRE(fd >= 0);
  CHECK_INT(fd, watch_stream_fd(stream));
  watch_prefix(stream, "k", 0, 0);
  CHECK(!readable(fd, 0));
  for (round = 0; round < 20; round++) {
    put(store, "k", "v");
    put(store, "k", "w");
    for (events = 0; events < 2;) {
      CHECK(readable(fd, -1));
      events += drain(stream);
    }
    CHECK_INT(2, events);
    CHECK(!readable(fd, 0));
  }
  put(store, "elsewhere", "v");
  CHECK_INT(0, drain(stream));
  CHECK(!readable(fd, 0));
  watch_stream_close(stream);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void fd_stays_readable_while_some_are_left(void) {
  watch_store *store = open_memory();
  watch_stream *stream = open_stream(store);
  const watch_response *response;
  int fd = watch_stream_fd(stream);
  watch_prefix(stream, "a", 0, WATCH_CREATE_CREATED_NOTIFY);
  watch_prefix(stream, "b", 0, WATCH_CREATE_CREATED_NOTIFY);
  CHECK(readable(fd, -1));
  response = next(stream);
  CHECK_INT(WATCH_RESPONSE_CREATED, response->flags);
  CHECK(readable(fd, 0));
  response = next(stream);
  CHECK_INT(WATCH_RESPONSE_CREATED, response->flags);
  CHECK_INT(0, drain(stream));
  CHECK(!readable(fd, 0));
  watch_stream_close(stream);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void fd_asked_for_late_knows_what_is_queued(void) {
  watch_store *store = open_memory();
  watch_stream *stream = open_stream(store);
  int fd;
  watch_prefix(stream, "k", 0, 0);
  put(store, "k", "v");
  fd = watch_stream_fd(stream);
  REQUIRE(fd >= 0);
  CHECK(readable(fd, -1));
  CHECK_INT(1, drain(stream));
  CHECK(!readable(fd, 0));
  watch_stream_close(stream);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void fd_is_readable_after_the_end(void) {
  watch_store *store = open_memory();
  watch_stream *first = open_stream(store), *second = open_stream(store);
  const watch_response *response = NULL;
  int fd = watch_stream_fd(first), other = watch_stream_fd(second);
  CHECK(!readable(fd, 0) && !readable(other, 0));
  CHECK_INT(WATCH_OK, watch_stream_shutdown(first));
  CHECK(readable(fd, -1));
  CHECK_INT(WATCH_ERR_CLOSED, watch_stream_next(first, 0, &response));
  CHECK(readable(fd, 0));
  CHECK(!readable(other, 0));
  CHECK_INT(WATCH_OK, watch_store_close(store));
  CHECK(readable(other, -1));
  CHECK_INT(WATCH_ERR_CLOSED, watch_stream_next(second, 0, &response));
  watch_stream_close(first);
  watch_stream_close(second);
}

static void fd_of_what_is_no_stream(void) {
  CHECK_INT(-1, watch_stream_fd(NULL));
  CHECK(strlen(watch_last_error()) > 0);
}

int main(void) {
  check_start();
  RUN(fd_follows_the_queue);
  RUN(fd_stays_readable_while_some_are_left);
  RUN(fd_asked_for_late_knows_what_is_queued);
  RUN(fd_is_readable_after_the_end);
  RUN(fd_of_what_is_no_stream);
  return check_done();
}
