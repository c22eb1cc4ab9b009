/* scene.h - a store with a past and two watches. Around every call that is refused its state is held against
 * itself, and at the end both watches must go on as if nothing had been. */
#ifndef SCENE_H
#define SCENE_H

#include "support.h"

/* The compaction of a scene, its newest revision, and the id of the watch on the stream of a case. */
enum { COMPACTED = 4, CURRENT = 7, LIVE = 7 };

static watch_store *store;
static watch_stream *stream, *witness;

/* Everything a caller can see of a store. */
typedef struct state {
  int64_t revision, compact_revision;
  uint64_t counts[5];
  char pairs[1024]; /* a scene is small; bytes that are no text are left out of its stories */
} state;

static inline watch_range_request range_of(const char *key, const char *end) {
  watch_range_request request;
  WATCH_INIT(&request);
  request.key = B(key);
  request.range_end = B(end);
  return request;
}

static inline watch_delete_range_request delete_of(const char *key, const char *end) {
  watch_delete_range_request request;
  WATCH_INIT(&request);
  request.key = B(key);
  request.range_end = B(end);
  return request;
}

static inline watch_put_request put_of(const char *key, const char *value, uint32_t flags) {
  watch_put_request request;
  WATCH_INIT(&request);
  request.key = B(key);
  request.value = B(value);
  request.flags = flags;
  return request;
}

static inline watch_create_request create_of(watch_bytes key, watch_bytes end, int64_t start, int64_t id) {
  watch_create_request request;
  WATCH_INIT(&request);
  request.key = key;
  request.range_end = end;
  request.start_revision = start;
  request.watch_id = id;
  request.flags = WATCH_CREATE_CREATED_NOTIFY;
  return request;
}

static inline watch_op op_put(const watch_put_request *request) {
  watch_op op = {WATCH_OP_PUT, 0, {NULL}};
  op.request.put = request;
  return op;
}

static inline watch_op op_range(const watch_range_request *request) {
  watch_op op = {WATCH_OP_RANGE, 0, {NULL}};
  op.request.range = request;
  return op;
}

static inline watch_op op_delete(const watch_delete_range_request *request) {
  watch_op op = {WATCH_OP_DELETE_RANGE, 0, {NULL}};
  op.request.delete_range = request;
  return op;
}

static inline watch_op op_txn(const watch_txn_request *request) {
  watch_op op = {WATCH_OP_TXN, 0, {NULL}};
  op.request.txn = request;
  return op;
}

static inline watch_txn_request txn_of(const watch_op *success, size_t count) {
  watch_txn_request request;
  WATCH_INIT(&request);
  request.success = success;
  request.success_count = count;
  return request;
}

static inline watch_status run(const watch_op *success, size_t count) {
  watch_txn_request request = txn_of(success, count);
  return watch_store_txn(store, &request, NULL);
}

/* A transaction of a good put and then this operation. */
static inline watch_status run_after_put(watch_op op) {
  watch_put_request good = put_of("x", "", 0);
  watch_op ops[2];
  ops[0] = op_put(&good);
  ops[1] = op;
  return run(ops, 2);
}

/* "key=value@create/mod/version/lease " of every key. */
static inline void describe(watch_store *of, char *text, size_t room) {
  watch_range_request request;
  const watch_result *result = NULL;
  size_t i, len = 0;
  WATCH_INIT(&request);
  request.key = ALL_KEY;
  request.range_end = ALL_END;
  REQUIRE_OK(watch_store_range(of, &request, &result));
  text[0] = '\0';
  for (i = 0; i < result->kv_count && len < room; i++) {
    const watch_kv *kv = &result->kvs[i];
    len += (size_t)snprintf(text + len, room - len, "%.*s=%.*s@%d/%d/%d/%d ", (int)kv->key.len,
                            (const char *)kv->key.data, (int)kv->value.len, (const char *)kv->value.data,
                            (int)kv->create_revision, (int)kv->mod_revision, (int)kv->version,
                            (int)kv->lease);
  }
  REQUIRE(len < room);
  watch_result_release(result);
}

static inline state look(void) {
  state now;
  watch_store_stats stats;
  WATCH_INIT(&stats);
  REQUIRE_OK(watch_store_stats_read(store, &stats));
  now.revision = watch_store_revision(store);
  now.compact_revision = watch_store_compact_revision(store);
  now.counts[0] = stats.watch_count;
  now.counts[1] = stats.stream_count;
  now.counts[2] = stats.key_count;
  now.counts[3] = stats.put_total;
  now.counts[4] = stats.delete_total;
  describe(store, now.pairs, sizeof now.pairs);
  return now;
}

static inline void check_same(const state *before, const char *file, int line, const char *text) {
  state now = look();
  check_int(before->revision, now.revision, file, line, text);
  check_int(before->compact_revision, now.compact_revision, file, line, text);
  check_true(memcmp(before->counts, now.counts, sizeof now.counts) == 0, file, line, text);
  check_true(strcmp(before->pairs, now.pairs) == 0, file, line, text);
}

static inline void check_says(const char *words, const char *file, int line, const char *text) {
  const char *said = watch_last_error();
  check_true(strstr(said, words) != NULL, file, line, text);
  check_true(said[0] != '\0' && said[strlen(said) - 1] != '.', file, line, text);
  check_true(strchr(said, '\n') == NULL, file, line, text);
}

/* The call fails with this status and a line that has these words, and changes nothing. */
#define REFUSED(status, words, call)                  \
  do {                                                \
    state before_ = look();                           \
    CHECK_INT(status, call);                          \
    check_says(words, __FILE__, __LINE__, #call);     \
    check_same(&before_, __FILE__, __LINE__, #call);  \
  } while (0)

/* The call is accepted and changes nothing all the same. */
#define UNCHANGED(call)                               \
  do {                                                \
    state before_ = look();                           \
    CHECK_INT(WATCH_OK, call);                        \
    check_same(&before_, __FILE__, __LINE__, #call);  \
  } while (0)

/* A number as the error names it. */
static inline const char *shown(int64_t number) {
  static char text[32];
  snprintf(text, sizeof text, "%" PRId64, number);
  return text;
}

/* What an error said of revisions. */
static inline watch_error_info last_info(void) {
  watch_error_info info;
  WATCH_INIT(&info);
  CHECK_INT(WATCH_OK, watch_last_error_info(&info));
  return info;
}

/* Takes what was told up to now; the answer is "8+a=4 9-b " for its events, and how many responses it was. */
static inline size_t told(watch_stream *by, char *text, size_t room) {
  const watch_response *response;
  size_t i, len = 0, count = 0;
  text[0] = '\0';
  REQUIRE_OK(watch_stream_request_progress(by));
  while ((response = next(by))->watch_id != WATCH_ID_NONE) {
    count++;
    for (i = 0; i < response->event_count && len < room; i++) {
      const watch_kv *kv = &response->events[i].kv;
      int is_put = response->events[i].type == WATCH_EVENT_PUT;
      len += (size_t)snprintf(text + len, room - len, "%d%s%.*s%s%.*s ", (int)kv->mod_revision,
                              is_put ? "+" : "-", (int)kv->key.len, (const char *)kv->key.data,
                              is_put ? "=" : "", (int)kv->value.len, (const char *)kv->value.data);
    }
  }
  REQUIRE(len < room);
  return count;
}

/* In at most so many responses. */
static inline void check_told(watch_stream *by, size_t responses, const char *expected) {
  char text[512];
  CHECK(told(by, text, sizeof text) <= responses);
  CHECK_TEXT(expected, text);
}

static inline void scene_begin(void) {
  watch_put_request leased = put_of("a", "3", 0);
  watch_create_request create = create_of(ALL_KEY, ALL_END, 0, LIVE);
  store = open_memory();
  put(store, "a", "1");
  put(store, "b", "2");
  leased.lease = 9;
  REQUIRE_OK(watch_store_put_with(store, &leased, NULL));
  put(store, "gone", "x");
  REQUIRE_OK(watch_store_delete(store, B("gone"), NO_BYTES, NULL, NULL));
  REQUIRE(put(store, "c", "") == CURRENT);
  REQUIRE_OK(watch_store_compact(store, COMPACTED, 0));
  stream = open_stream(store);
  witness = open_stream(store);
  create.flags = 0;
  REQUIRE_OK(watch_stream_create(stream, &create, NULL));
  REQUIRE_OK(watch_stream_create(witness, &create, NULL));
}

/* The next put comes to both watches and is all that comes. */
static inline void scene_end(void) {
  char expected[64];
  snprintf(expected, sizeof expected, "%" PRId64 "+z=end ", put(store, "z", "end"));
  check_told(stream, 1, expected);
  check_told(witness, 1, expected);
  watch_stream_close(stream);
  watch_stream_close(witness);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

/* Runs a case on a fresh scene. */
#define SCENE(test)     \
  do {                  \
    check_begin(#test); \
    scene_begin();      \
    test();             \
    scene_end();        \
    check_end();        \
  } while (0)

#endif
