/* resume_after_restart.c - every event once, across restarts: the resume revision is kept beside the store.
 * cc resume_after_restart.c -lwatch && ./a.out directory && ./a.out directory */
#include <stdio.h>
#include <stdlib.h>
#include <watch.h>

static char position[4096]; /* the file that holds the next revision */

static void check(watch_status status, const char *what) {
  if (status >= 0) return;
  fprintf(stderr, "%s: %s\n", what, watch_last_error());
  exit(1);
}

static long long load(void) {
  long long revision = 1; /* the first time: from the beginning of history */
  FILE *file = fopen(position, "r");
  if (file != NULL) {
    if (fscanf(file, "%lld", &revision) != 1) revision = 1;
    fclose(file);
  }
  return revision;
}

static void save(long long revision) { /* a real program writes a new file and renames it */
  FILE *file = fopen(position, "w");
  if (file == NULL || fprintf(file, "%lld\n", revision) < 0 || fclose(file) != 0) {
    perror(position);
    exit(1);
  }
}

int main(int argc, char **argv) {
  const char *path = argc > 1 ? argv[1] : "resume.store";
  watch_store_options options;
  watch_create_request request;
  watch_store *store;
  watch_stream *stream;
  const watch_response *response;
  int64_t watch_id, last;
  size_t i;

  snprintf(position, sizeof position, "%s.position", path);
  WATCH_INIT(&options);
  options.flags = WATCH_OPEN_CREATE;
  check(watch_store_open(path, &options, &store), "open");
  check(watch_store_put(store, watch_bytes_str("job"), watch_bytes_str("queued"), NULL), "put");
  check(watch_store_put(store, watch_bytes_str("job"), watch_bytes_str("done"), &last), "put");

  check(watch_stream_open(store, NULL, &stream), "stream");
  WATCH_INIT(&request);
  request.key = watch_bytes_str("job");
  request.start_revision = load();
  printf("resume at %lld\n", (long long)request.start_revision);
  check(watch_stream_create(stream, &request, &watch_id), "watch");
  do {
    check(watch_stream_next(stream, -1, &response), "next");
    if (response->flags & WATCH_RESPONSE_CANCELED) { /* see compacted.c */
      fprintf(stderr, "the watch ended: %s\n", response->cancel_reason);
      return 1;
    }
    for (i = 0; i < response->event_count; ++i) {
      const watch_kv *kv = &response->events[i].kv;
      printf("%lld: %.*s\n", (long long)kv->mod_revision, (int)kv->value.len, (const char *)kv->value.data);
    }
    save((long long)response->resume_revision); /* after the work, never before; not response->revision */
  } while (response->resume_revision <= last);

  watch_stream_close(stream);
  check(watch_store_close(store), "close");
  return 0;
}
