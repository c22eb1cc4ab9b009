/* watch_poll.c - watches in an event loop of your own: poll(2) beside other descriptors, without a callback.
 * cc watch_poll.c -lwatch && ./a.out */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <watch.h>

static void check(watch_status status, const char *what) {
  if (status >= 0) return;
  fprintf(stderr, "%s: %s\n", what, watch_last_error());
  exit(1);
}

static void print(const watch_response *response) {
  size_t i;
  for (i = 0; i < response->event_count; ++i) {
    const watch_event *e = &response->events[i];
    printf("%s %.*s = %.*s at %lld\n", e->type == WATCH_EVENT_PUT ? "PUT   " : "DELETE", (int)e->kv.key.len,
           (const char *)e->kv.key.data, (int)e->kv.value.len, (const char *)e->kv.value.data,
           (long long)e->kv.mod_revision);
  }
}

int main(void) {
  watch_store_options options;
  watch_create_request request;
  watch_store *store;
  watch_stream *stream;
  uint8_t end[16];
  int64_t watch_id;
  int written = 0, seen = 0;

  WATCH_INIT(&options);
  options.flags = WATCH_OPEN_MEMORY;
  check(watch_store_open(NULL, &options, &store), "open");
  check(watch_stream_open(store, NULL, &stream), "stream");

  WATCH_INIT(&request);
  request.key = watch_bytes_str("sensor/");
  check(watch_prefix_end(request.key, end, sizeof end, &request.range_end), "prefix");
  check(watch_stream_create(stream, &request, &watch_id), "watch");

  while (seen < 3) {
    struct pollfd fds[1]; /* a real loop has more of them */
    const watch_response *response;
    watch_status status;

    if (written < 3) { /* stands for everything else that the loop does */
      char value[16];
      snprintf(value, sizeof value, "%d", 20 + written++);
      check(watch_store_put(store, watch_bytes_str("sensor/kitchen"), watch_bytes_str(value), NULL), "put");
    }
    fds[0].fd = watch_stream_fd(stream);
    fds[0].events = POLLIN;
    if (poll(fds, 1, -1) < 0) break;
    /* Take until nothing is left; what is not taken makes the descriptor readable again. */
    while ((status = watch_stream_next(stream, 0, &response)) == WATCH_OK) {
      print(response); /* borrowed until the next call; watch_response_retain keeps it */
      seen += (int)response->event_count;
    }
    check(status, "next");
  }
  watch_stream_close(stream);
  check(watch_store_close(store), "close");
  return seen == 3 ? 0 : 1;
}
