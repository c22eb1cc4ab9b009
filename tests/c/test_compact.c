/* Compaction: what can still be read, and how watches behind it end. */
#include "support.h"

static watch_store *open_with_ten(void) {
  watch_store *store = open_memory();
  int i;
  for (i = 0; i < 9; i++) {
    put(store, "k", "v"); /* 2 to 10 */
  }
  return store;
}

static void compact_moves_the_oldest_revision(void) {
  watch_store *store = open_with_ten();
  const watch_result *result = NULL;
  CHECK_INT(WATCH_OK, watch_store_compact(store, 6, 0));
  CHECK_INT(6, watch_store_compact_revision(store));
  CHECK_INT(10, watch_store_revision(store));
  CHECK_INT(WATCH_ERR_COMPACTED, watch_store_get(store, B("k"), 5, &result));
  CHECK(result == NULL);
  REQUIRE_OK(watch_store_get(store, B("k"), 6, &result));
  REQUIRE(result->kv_count == 1);
  CHECK_INT(6, result->kvs[0].mod_revision);
  watch_result_release(result);
  CHECK_INT(WATCH_ERR_COMPACTED, watch_store_compact(store, 6, 0));
  CHECK_INT(WATCH_ERR_COMPACTED, watch_store_compact(store, 3, 0));
  CHECK_INT(WATCH_ERR_FUTURE_REVISION, watch_store_compact(store, 11, 0));
  CHECK_INT(WATCH_ERR_UNSUPPORTED, watch_store_compact(store, 7, 2));
  CHECK_INT(6, watch_store_compact_revision(store));
  CHECK_INT(WATCH_OK, watch_store_compact(store, 10, WATCH_COMPACT_PHYSICAL));
  REQUIRE_OK(watch_store_get(store, B("k"), 0, &result));
  CHECK_INT(10, result->kvs[0].mod_revision);
  CHECK_INT(9, result->kvs[0].version);
  watch_result_release(result);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void compact_ends_a_watch_that_starts_below(void) {
  watch_store *store = open_with_ten();
  watch_stream *stream = open_stream(store);
  const watch_response *response;
  int64_t id;
  CHECK_INT(WATCH_OK, watch_store_compact(store, 6, 0));
  id = watch_prefix(stream, "k", 5, WATCH_CREATE_CREATED_NOTIFY);
  CHECK_INT(WATCH_RESPONSE_CREATED, next(stream)->flags);
  response = next(stream);
  CHECK_INT(WATCH_RESPONSE_CANCELED, response->flags);
  CHECK_INT(id, response->watch_id);
  CHECK_INT(WATCH_ERR_COMPACTED, response->cancel_status);
  CHECK_INT(6, response->compact_revision);
  CHECK_INT(10, response->revision);
  CHECK(strlen(response->cancel_reason) > 0);
  CHECK_INT(WATCH_ERR_WATCH_NOT_FOUND, watch_stream_cancel(stream, id));
  /* The revision it names is a legal start. */
  watch_prefix(stream, "k", response->compact_revision, 0);
  response = next(stream);
  CHECK_INT(0, response->flags);
  REQUIRE(response->event_count >= 1);
  CHECK_INT(6, response->events[0].kv.mod_revision);
  watch_stream_close(stream);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void compact_never_leaves_a_gap(void) {
  watch_store *store = open_memory();
  watch_stream *stream = NULL;
  watch_stream_options options;
  const watch_response *response;
  int64_t expected = 2;
  int i;
  WATCH_INIT(&options);
  options.batch_revisions = 7;
  REQUIRE_OK(watch_stream_open(store, &options, &stream));
  for (i = 0; i < 500; i++) {
    put(store, "k", "v");
  }
  watch_prefix(stream, "k", 2, 0);
  response = next(stream);
  expected += (int64_t)response->event_count;
  CHECK_INT(WATCH_OK, watch_store_compact(store, 400, 0));
  /* Either every event up to the end, or a prefix and then the reason. */
  while (expected <= 501) {
    size_t j;
    response = next(stream);
    if (response->flags & WATCH_RESPONSE_CANCELED) {
      CHECK_INT(WATCH_ERR_COMPACTED, response->cancel_status);
      CHECK_INT(400, response->compact_revision);
      break;
    }
    for (j = 0; j < response->event_count; j++) {
      CHECK_INT(expected, response->events[j].kv.mod_revision);
      expected++;
    }
  }
  watch_stream_close(stream);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void compact_survives_reopening(void) {
  char *path = temp_folder();
  watch_store *store = open_folder(path);
  int i;
  for (i = 0; i < 20; i++) {
    put(store, "k", "v");
  }
  CHECK_INT(WATCH_OK, watch_store_compact(store, 15, WATCH_COMPACT_PHYSICAL));
  CHECK_INT(WATCH_OK, watch_store_close(store));
  store = open_folder(path);
  CHECK_INT(15, watch_store_compact_revision(store));
  CHECK_INT(21, watch_store_revision(store));
  CHECK_INT(WATCH_ERR_COMPACTED, watch_store_get(store, B("k"), 14, NULL));
  CHECK_INT(WATCH_OK, watch_store_get(store, B("k"), 15, NULL));
  CHECK_INT(WATCH_OK, watch_store_close(store));
  remove_folder(path);
}

static void a_store_compacts_by_itself_if_told_to(void) {
  watch_store_options options;
  watch_store *store = NULL;
  int i;
  WATCH_INIT(&options);
  options.flags = WATCH_OPEN_MEMORY;
  options.auto_compaction_revisions = 10;
  REQUIRE_OK(watch_store_open(NULL, &options, &store));
  for (i = 0; i < 300; i++) {
    put(store, "k", "v");
    CHECK(watch_store_compact_revision(store) <= (i < 8 ? -1 : i + 2 - 10));
  }
  while (watch_store_compact_revision(store) < 100) {
  }
  CHECK_INT(WATCH_OK, watch_store_close(store));
  options.auto_compaction_period_ms = 100;
  CHECK_INT(WATCH_ERR_INVALID_ARGUMENT, watch_store_open(NULL, &options, &store));
  options.auto_compaction_revisions = 0;
  REQUIRE_OK(watch_store_open(NULL, &options, &store));
  put(store, "k", "v");
  while (watch_store_compact_revision(store) != 2) {
  }
  CHECK_INT(WATCH_OK, watch_store_close(store));
  options.auto_compaction_period_ms = 99;
  CHECK_INT(WATCH_ERR_LIMIT, watch_store_open(NULL, &options, &store));
  options.auto_compaction_period_ms = 0;
  options.auto_compaction_revisions = -1;
  CHECK_INT(WATCH_ERR_LIMIT, watch_store_open(NULL, &options, &store));
}

int main(void) {
  check_start();
  RUN(compact_moves_the_oldest_revision);
  RUN(compact_ends_a_watch_that_starts_below);
  RUN(compact_never_leaves_a_gap);
  RUN(compact_survives_reopening);
  RUN(a_store_compacts_by_itself_if_told_to);
  return check_done();
}
