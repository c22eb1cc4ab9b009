/* watch_callback.c - responses on a thread of the library: one at a time per stream, none of its locks held.
 * cc -pthread watch_callback.c -lwatch && ./a.out */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <watch.h>

struct printer {
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  int events;
};

static void check(watch_status status, const char *what) {
  if (status >= 0) return;
  fprintf(stderr, "%s: %s\n", what, watch_last_error());
  exit(1);
}

static watch_status on_response(void *user_data, watch_stream *stream, const watch_response *response) {
  struct printer *printer = user_data;
  size_t i;
  (void)stream; /* every call is allowed here, also create, cancel and close of this stream */
  for (i = 0; i < response->event_count; ++i) {
    const watch_kv *kv = &response->events[i].kv;
    printf("%.*s = %.*s\n", (int)kv->key.len, (const char *)kv->key.data, (int)kv->value.len,
           (const char *)kv->value.data);
  }
  if (response->flags & WATCH_RESPONSE_CANCELED) printf("watch %lld ended\n", (long long)response->watch_id);
  pthread_mutex_lock(&printer->mutex);
  printer->events += (int)response->event_count;
  pthread_cond_signal(&printer->changed);
  pthread_mutex_unlock(&printer->mutex);
  return WATCH_OK; /* WATCH_AGAIN would offer the same events again later; < 0 would cancel the watch */
}

static void on_destroy(void *user_data) { /* after the last callback, exactly once */
  struct printer *printer = user_data;
  printf("%d events\n", printer->events);
}

int main(void) {
  struct printer printer = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
  watch_store_options options;
  watch_stream_options callbacks;
  watch_create_request request;
  watch_store *store;
  watch_stream *stream;
  int64_t watch_id;

  WATCH_INIT(&options);
  options.flags = WATCH_OPEN_MEMORY;
  check(watch_store_open(NULL, &options, &store), "open");
  WATCH_INIT(&callbacks);
  callbacks.on_response = on_response;
  callbacks.user_data = &printer;
  callbacks.destroy = on_destroy;
  check(watch_stream_open(store, &callbacks, &stream), "stream");
  WATCH_INIT(&request);
  request.key = watch_bytes_str("door");
  check(watch_stream_create(stream, &request, &watch_id), "watch");

  check(watch_store_put(store, watch_bytes_str("door"), watch_bytes_str("open"), NULL), "put");
  check(watch_store_put(store, watch_bytes_str("window"), watch_bytes_str("open"), NULL), "put");
  check(watch_store_put(store, watch_bytes_str("door"), watch_bytes_str("shut"), NULL), "put");
  pthread_mutex_lock(&printer.mutex);
  while (printer.events < 2) pthread_cond_wait(&printer.changed, &printer.mutex);
  pthread_mutex_unlock(&printer.mutex);

  watch_stream_close(stream); /* waits for a running callback, then runs on_destroy */
  check(watch_store_close(store), "close");
  return 0;
}
