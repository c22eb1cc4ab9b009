/* compacted.c - history that a watch asks for may be gone: list what is there, then watch from there on.
 * cc compacted.c -lwatch && ./a.out */
#include <stdio.h>
#include <stdlib.h>
#include <watch.h>

static watch_store *store;

static void check(watch_status status, const char *what) {
  if (status >= 0) return;
  fprintf(stderr, "%s: %s\n", what, watch_last_error());
  exit(1);
}

static void put(const char *key, const char *value) {
  check(watch_store_put(store, watch_bytes_str(key), watch_bytes_str(value), NULL), "put");
}

static void watch_from(watch_stream *stream, int64_t revision) {
  watch_create_request request;
  int64_t watch_id;
  WATCH_INIT(&request);
  request.key = request.range_end = watch_bytes_of("", 1); /* "\0" to "\0": every key */
  request.start_revision = revision;
  check(watch_stream_create(stream, &request, &watch_id), "watch");
}

/* Everything there is; answers the revision after it. */
static int64_t list(void) {
  watch_range_request request;
  const watch_result *result;
  int64_t next;
  size_t i;
  WATCH_INIT(&request);
  request.key = request.range_end = watch_bytes_of("", 1);
  check(watch_store_range(store, &request, &result), "range");
  for (i = 0; i < result->kv_count; ++i)
    printf("list %.*s = %.*s\n", (int)result->kvs[i].key.len, (const char *)result->kvs[i].key.data,
           (int)result->kvs[i].value.len, (const char *)result->kvs[i].value.data);
  next = result->revision + 1;
  watch_result_release(result);
  return next;
}

int main(void) {
  watch_store_options options;
  watch_stream *stream;
  const watch_response *response;
  int events = 0;

  WATCH_INIT(&options);
  options.flags = WATCH_OPEN_MEMORY;
  check(watch_store_open(NULL, &options, &store), "open");
  put("a", "1"), put("a", "2"), put("b", "3");
  check(watch_store_compact(store, 3, 0), "compact"); /* what happened before revision 3 is forgotten */

  check(watch_stream_open(store, NULL, &stream), "stream");
  watch_from(stream, 1);
  while (events == 0) {
    check(watch_stream_next(stream, -1, &response), "next");
    if (response->cancel_status == WATCH_ERR_COMPACTED) { /* one clear end, never a silent gap */
      printf("history begins at %lld now\n", (long long)response->compact_revision);
      watch_from(stream, list());
      put("a", "4");
    }
    events += (int)response->event_count;
    if (response->event_count > 0)
      printf("event %.*s\n", (int)response->events[0].kv.value.len,
             (const char *)response->events[0].kv.value.data);
  }
  watch_stream_close(stream);
  check(watch_store_close(store), "close");
  return 0;
}
