/* follow.c - the demo's C program: watches a prefix with a callback from revision 1 on and folds the events
 * into the tree as it is now.   follow_c STORE PREFIX OUTPUT
 * OUTPUT gets "path NUL value NUL" in byte order; the last line printed is "events N last R". Each previous
 * value must be what the fold has at that moment, and revisions must not go back. */
#include <errno.h>
#include <pthread.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <watch.h>

enum { PATIENCE_SECONDS = 60 }; /* without any news */

struct path { /* a path with its value, in one piece */
  watch_bytes key, value;
};

struct follower {
  pthread_mutex_t mutex; /* of everything below; the tree too: callbacks change threads */
  pthread_cond_t changed;
  void *tree;
  unsigned long long events, responses;
  int64_t last;        /* revision of the newest event */
  int done;            /* the answer to the progress request came */
  const char *problem; /* static text */
};

static FILE *output; /* twalk hands nothing through */

static int compare(const void *a, const void *b) {
  const watch_bytes *x = &((const struct path *)a)->key, *y = &((const struct path *)b)->key;
  int order = memcmp(x->data, y->data, x->len < y->len ? x->len : y->len);
  return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

static int same(watch_bytes a, watch_bytes b) {
  return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static struct path *copy(const watch_kv *kv) {
  struct path *entry = malloc(sizeof *entry + kv->key.len + kv->value.len);
  uint8_t *bytes = (uint8_t *)(entry + 1);
  if (entry == NULL) return NULL;
  memcpy(bytes, kv->key.data, kv->key.len);
  if (kv->value.len > 0) memcpy(bytes + kv->key.len, kv->value.data, kv->value.len);
  entry->key = watch_bytes_of(bytes, kv->key.len);
  entry->value = watch_bytes_of(bytes + kv->key.len, kv->value.len);
  return entry;
}

static void fold(struct follower *f, const watch_event *event) {
  struct path probe, **node, *old;
  probe.key = event->kv.key;
  node = tfind(&probe, &f->tree, compare);
  old = node == NULL ? NULL : *node;
  if (event->kv.mod_revision < f->last) f->problem = "revisions went back";
  f->last = event->kv.mod_revision;
  ++f->events;
  if ((old == NULL) != (event->prev_kv == NULL)) f->problem = "a previous value is missing or too many";
  else if (old != NULL && !same(old->value, event->prev_kv->value)) f->problem = "a previous value is wrong";
  if (event->type == WATCH_EVENT_DELETE) {
    tdelete(&probe, &f->tree, compare);
  } else {
    struct path *entry = copy(&event->kv);
    if (entry == NULL) f->problem = "out of memory";
    else if (node != NULL) *node = entry;
    else if (tsearch(entry, &f->tree, compare) == NULL) f->problem = "out of memory";
  }
  free(old);
}

static watch_status on_response(void *user_data, watch_stream *stream, const watch_response *response) {
  struct follower *f = user_data;
  size_t i;
  (void)stream;
  pthread_mutex_lock(&f->mutex);
  ++f->responses;
  if (response->flags & WATCH_RESPONSE_CANCELED && f->problem == NULL) f->problem = "the watch was canceled";
  for (i = 0; i < response->event_count && f->problem == NULL; ++i) fold(f, &response->events[i]);
  if (response->flags & WATCH_RESPONSE_PROGRESS) f->done = 1;
  pthread_cond_signal(&f->changed);
  pthread_mutex_unlock(&f->mutex);
  return WATCH_OK;
}

static void wait_until_done(struct follower *f) {
  pthread_mutex_lock(&f->mutex);
  while (!f->done && f->problem == NULL) {
    struct timespec until;
    unsigned long long before = f->responses;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_SECONDS;
    if (pthread_cond_timedwait(&f->changed, &f->mutex, &until) == ETIMEDOUT && before == f->responses)
      f->problem = "nothing arrived for a minute";
  }
  pthread_mutex_unlock(&f->mutex);
}

static void print_entry(const void *node, VISIT visit, int depth) {
  const struct path *entry = *(struct path *const *)node;
  (void)depth;
  if (visit != postorder && visit != leaf) return;
  fwrite(entry->key.data, 1, entry->key.len, output);
  fputc(0, output);
  fwrite(entry->value.data, 1, entry->value.len, output);
  fputc(0, output);
}

static watch_status follow(watch_store *store, const char *prefix, struct follower *f) {
  watch_stream_options callbacks;
  watch_create_request request;
  watch_stream *stream;
  watch_status status;
  uint8_t end[4096];
  int64_t watch_id;

  WATCH_INIT(&callbacks);
  callbacks.on_response = on_response;
  callbacks.user_data = f;
  if ((status = watch_stream_open(store, &callbacks, &stream)) < 0) return status;
  WATCH_INIT(&request);
  request.key = watch_bytes_str(prefix);
  status = watch_prefix_end(request.key, end, sizeof end, &request.range_end);
  request.start_revision = 1;
  request.flags = WATCH_CREATE_PREV_KV;
  if (status >= 0) status = watch_stream_create(stream, &request, &watch_id);
  if (status >= 0) status = watch_stream_request_progress(stream); /* answered after the last event */
  if (status >= 0) wait_until_done(f);
  watch_stream_close(stream);
  return status;
}

int main(int argc, char **argv) {
  struct follower f = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL, 0, 0, 0, 0, NULL};
  watch_store_options options;
  watch_store *store;
  watch_status status;

  if (argc != 4) {
    fprintf(stderr, "usage: %s STORE PREFIX OUTPUT\n", argv[0]);
    return 2;
  }
  WATCH_INIT(&options);
  options.flags = WATCH_OPEN_READ_ONLY;
  status = watch_store_open(argv[1], &options, &store);
  if (status >= 0) {
    status = follow(store, argv[2], &f);
    if (status < 0) f.problem = watch_last_error();
    if (watch_store_close(store) < 0 && f.problem == NULL) f.problem = watch_last_error();
  } else {
    f.problem = watch_last_error();
  }
  if (f.problem == NULL) {
    output = fopen(argv[3], "wb");
    if (output != NULL) twalk(f.tree, print_entry);
    if (output == NULL || fclose(output) != 0) f.problem = "cannot write the output";
  }
  if (f.problem != NULL) {
    fprintf(stderr, "follow.c: %s (after %llu events, at revision %lld)\n", f.problem, f.events,
            (long long)f.last);
    return 1;
  }
  printf("events %llu last %lld\n", f.events, (long long)f.last);
  return 0;
}
