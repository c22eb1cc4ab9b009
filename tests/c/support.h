/* support.h - what the C tests share: stores in memory or in a folder of their own, short puts and watches,
 * and a counter that threads can wait for. */
#ifndef SUPPORT_H
#define SUPPORT_H

#include "check.h"

#include <ftw.h>
#include <pthread.h>

#define B(text) watch_bytes_str(text)
#define NO_BYTES watch_bytes_of(NULL, 0)
/* Every key: from "\0" on. */
#define ALL_KEY watch_bytes_of("\0", 1)
#define ALL_END watch_bytes_of("\0", 1)
/* Small, so that stores are opened fast and their logs have several segments. */
#define SEGMENT_BYTES (256 * 1024)

static inline watch_store *open_memory(void) {
  watch_store_options options;
  watch_store *store = NULL;
  WATCH_INIT(&options);
  options.flags = WATCH_OPEN_MEMORY;
  options.segment_bytes = SEGMENT_BYTES;
  REQUIRE_OK(watch_store_open(NULL, &options, &store));
  REQUIRE(store != NULL);
  return store;
}

static inline watch_store *open_folder(const char *path) {
  watch_store_options options;
  watch_store *store = NULL;
  WATCH_INIT(&options);
  options.flags = WATCH_OPEN_CREATE;
  options.durability = WATCH_DURABILITY_NONE;
  options.segment_bytes = SEGMENT_BYTES;
  REQUIRE_OK(watch_store_open(path, &options, &store));
  return store;
}

/* A folder that does not exist yet, in a new folder that remove_folder removes with it. */
static inline char *temp_folder(void) {
  const char *base = getenv("TMPDIR");
  char *path = malloc(4096);
  int len;
  REQUIRE(path != NULL);
  len = snprintf(path, 4000, "%s/watch-c-XXXXXX", base != NULL ? base : "/tmp");
  REQUIRE(len > 0 && len < 4000 && mkdtemp(path) != NULL);
  strcat(path, "/store");
  return path;
}

static inline int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *at) {
  (void)status;
  (void)kind;
  (void)at;
  return remove(path);
}

static inline void remove_folder(char *path) {
  *strrchr(path, '/') = '\0';
  CHECK(nftw(path, remove_entry, 8, FTW_DEPTH | FTW_PHYS) == 0);
  free(path);
}

static inline int64_t put(watch_store *store, const char *key, const char *value) {
  int64_t revision = 0;
  CHECK_INT(WATCH_OK, watch_store_put(store, B(key), B(value), &revision));
  return revision;
}

static inline watch_stream *open_stream(watch_store *store) {
  watch_stream *stream = NULL;
  REQUIRE_OK(watch_stream_open(store, NULL, &stream));
  return stream;
}

/* Watches every key whose name begins with prefix. */
static inline int64_t watch_prefix(watch_stream *stream, const char *prefix, int64_t start, uint32_t flags) {
  watch_create_request request;
  uint8_t end[64];
  int64_t id = 0;
  WATCH_INIT(&request);
  request.key = B(prefix);
  REQUIRE_OK(watch_prefix_end(request.key, end, sizeof end, &request.range_end));
  request.start_revision = start;
  request.flags = flags;
  CHECK_INT(WATCH_OK, watch_stream_create(stream, &request, &id));
  return id;
}

/* The next response, however long it takes: the watchdog is the limit. */
static inline const watch_response *next(watch_stream *stream) {
  const watch_response *response = NULL;
  REQUIRE_OK(watch_stream_next(stream, -1, &response));
  REQUIRE(response != NULL);
  return response;
}

/* A number that threads raise and wait for. */
typedef struct counter {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  int value;
} counter;

#define COUNTER_INIT {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0}

static inline void counter_add(counter *c, int by) {
  pthread_mutex_lock(&c->lock);
  c->value += by;
  pthread_cond_broadcast(&c->changed);
  pthread_mutex_unlock(&c->lock);
}

static inline void counter_set(counter *c, int value) {
  pthread_mutex_lock(&c->lock);
  c->value = value;
  pthread_cond_broadcast(&c->changed);
  pthread_mutex_unlock(&c->lock);
}

static inline int counter_get(counter *c) {
  int value;
  pthread_mutex_lock(&c->lock);
  value = c->value;
  pthread_mutex_unlock(&c->lock);
  return value;
}

static inline void counter_wait(counter *c, int at_least) {
  pthread_mutex_lock(&c->lock);
  while (c->value < at_least) {
    pthread_cond_wait(&c->changed, &c->lock);
  }
  pthread_mutex_unlock(&c->lock);
}

/* A destroy function: user_data is a counter. */
static inline void count_destroy(void *user_data) {
  counter_add((counter *)user_data, 1);
}

#endif
