/* Views that are kept outlive what they came from: the call, the stream, the store, its files. */
#include "support.h"

static void responses_outlive_stream_store_and_files(void) {
  char *path = temp_folder();
  watch_store *store = open_folder(path);
  watch_stream *stream = open_stream(store);
  const watch_response *kept[10] = {NULL};
  char value[32];
  int i;
  watch_prefix(stream, "k", 0, WATCH_CREATE_PREV_KV);
  for (i = 0; i < 10; i++) {
    snprintf(value, sizeof value, "value %d", i);
    put(store, "k", value);
    kept[i] = watch_response_retain(next(stream));
  }
  CHECK_INT(WATCH_OK, watch_store_compact(store, watch_store_revision(store), WATCH_COMPACT_PHYSICAL));
  watch_stream_close(stream);
  CHECK_INT(WATCH_OK, watch_store_close(store));
  remove_folder(path);
  for (i = 0; i < 10; i++) {
    REQUIRE(kept[i]->event_count == 1);
    snprintf(value, sizeof value, "value %d", i);
    CHECK_BYTES("k", kept[i]->events[0].kv.key);
    CHECK_BYTES(value, kept[i]->events[0].kv.value);
    if (i > 0 && CHECK(kept[i]->events[0].prev_kv != NULL)) {
      snprintf(value, sizeof value, "value %d", i - 1);
      CHECK_BYTES(value, kept[i]->events[0].prev_kv->value);
    }
    CHECK_INT(i + 3, kept[i]->resume_revision);
  }
  for (i = 0; i < 10; i++) {
    watch_response_release(kept[i]);
  }
}

static void results_outlive_the_store(void) {
  char *path = temp_folder();
  watch_store *store = open_folder(path);
  const watch_result *range = NULL, *gone = NULL;
  watch_range_request request;
  watch_delete_range_request delete_request;
  char key[16];
  int i;
  for (i = 0; i < 100; i++) {
    snprintf(key, sizeof key, "k%02d", i);
    put(store, key, key);
  }
  WATCH_INIT(&request);
  request.key = B("k");
  request.range_end = B("l");
  REQUIRE_OK(watch_store_range(store, &request, &range));
  WATCH_INIT(&delete_request);
  delete_request.key = B("k");
  delete_request.range_end = B("l");
  delete_request.flags = WATCH_DELETE_PREV_KV;
  REQUIRE_OK(watch_store_delete_with(store, &delete_request, &gone));
  CHECK_INT(WATCH_OK, watch_store_compact(store, watch_store_revision(store), WATCH_COMPACT_PHYSICAL));
  CHECK_INT(WATCH_OK, watch_store_close(store));
  remove_folder(path);
  REQUIRE(range->kv_count == 100 && gone->kv_count == 100);
  for (i = 0; i < 100; i++) {
    snprintf(key, sizeof key, "k%02d", i);
    CHECK_BYTES(key, range->kvs[i].key);
    CHECK_BYTES(key, range->kvs[i].value);
    CHECK_BYTES(key, gone->kvs[i].value);
  }
  watch_result_release(range);
  watch_result_release(gone);
}

static void a_part_keeps_the_whole(void) {
  watch_store *store = open_memory();
  watch_range_request range;
  watch_op inner_op, outer_op;
  watch_txn_request inner, outer;
  const watch_result *result = NULL, *part;
  put(store, "k", "v");
  WATCH_INIT(&range);
  range.key = B("k");
  inner_op.type = WATCH_OP_RANGE;
  inner_op.reserved = 0;
  inner_op.request.range = &range;
  WATCH_INIT(&inner);
  inner.success = &inner_op;
  inner.success_count = 1;
  outer_op.type = WATCH_OP_TXN;
  outer_op.reserved = 0;
  outer_op.request.txn = &inner;
  WATCH_INIT(&outer);
  outer.success = &outer_op;
  outer.success_count = 1;
  REQUIRE_OK(watch_store_txn(store, &outer, &result));
  part = watch_result_retain(result->results[0]->results[0]);
  CHECK(part == result->results[0]->results[0]);
  watch_result_release(result);
  CHECK_INT(WATCH_OK, watch_store_close(store));
  REQUIRE(part->kv_count == 1);
  CHECK_BYTES("v", part->kvs[0].value);
  watch_result_release(part);
}

static void a_borrow_ends_with_the_next_call(void) {
  watch_store *store = open_memory();
  watch_stream *stream = open_stream(store);
  const watch_response *kept, *other = NULL;
  int i;
  watch_prefix(stream, "k", 0, 0);
  put(store, "k", "first");
  kept = next(stream);
  /* Giving back what was only lent is refused and harmless. */
  watch_response_release(kept);
  CHECK(strstr(watch_last_error(), "retained") != NULL);
  CHECK_BYTES("first", kept->events[0].kv.value);
  CHECK(watch_response_retain(kept) == kept);
  CHECK(watch_response_retain(kept) == kept);
  for (i = 0; i < 40; i++) {
    put(store, "k", "later");
    other = next(stream);
    CHECK(other != kept);
  }
  CHECK_INT(WATCH_AGAIN, watch_stream_next(stream, 0, &other));
  CHECK_BYTES("first", kept->events[0].kv.value);
  CHECK_INT(2, kept->events[0].kv.mod_revision);
  watch_response_release(kept);
  CHECK_BYTES("first", kept->events[0].kv.value);
  watch_response_release(kept);
  watch_stream_close(stream);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

/* Bytes that compaction has dropped and a view still holds. */
static uint64_t pinned_bytes(watch_store *store) {
  watch_store_stats stats;
  WATCH_INIT(&stats);
  CHECK_INT(WATCH_OK, watch_store_stats_read(store, &stats));
  return stats.pinned_bytes;
}

/* Fills several segments with one key, and drops all but its last value. */
static void fill_and_compact(watch_store *store) {
  static char value[4096];
  int64_t revision = 0;
  int i;
  memset(value, 'v', sizeof value - 1);
  for (i = 0; i < 4 * SEGMENT_BYTES / (int)sizeof value; i++) {
    revision = put(store, "fill", value);
  }
  CHECK_INT(WATCH_OK, watch_store_compact(store, revision, WATCH_COMPACT_PHYSICAL));
}

static void a_borrow_pins_until_the_next_call(void) {
  watch_store *store = open_memory();
  watch_stream *stream = open_stream(store);
  const watch_response *response = NULL;
  int64_t id = watch_prefix(stream, "k", 0, 0);
  put(store, "k", "v");
  response = next(stream);
  fill_and_compact(store);
  CHECK(pinned_bytes(store) > 0);
  CHECK_BYTES("v", response->events[0].kv.value);
  CHECK_INT(WATCH_OK, watch_stream_cancel(stream, id));
  CHECK_INT(WATCH_RESPONSE_CANCELED, next(stream)->flags);
  CHECK_INT(0, pinned_bytes(store));
  watch_stream_close(stream);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

struct keeper {
  const watch_response *kept;
  counter events;
};

static watch_status keep(void *user_data, watch_stream *stream, const watch_response *response) {
  struct keeper *keeper = user_data;
  (void)stream;
  if (response->event_count > 0) {
    watch_response_release(keeper->kept);
    keeper->kept = watch_response_retain(response);
    counter_add(&keeper->events, (int)response->event_count);
  }
  return WATCH_OK;
}

static void a_callback_keeps_what_it_was_lent(void) {
  watch_store *store = open_memory();
  watch_stream *stream = NULL;
  watch_stream_options options;
  struct keeper keeper = {NULL, COUNTER_INIT};
  int i;
  WATCH_INIT(&options);
  options.on_response = keep;
  options.user_data = &keeper;
  REQUIRE_OK(watch_stream_open(store, &options, &stream));
  watch_prefix(stream, "k", 0, 0);
  for (i = 0; i < 20; i++) {
    put(store, "k", "v");
  }
  put(store, "k", "last");
  counter_wait(&keeper.events, 21);
  watch_stream_close(stream);
  CHECK_INT(WATCH_OK, watch_store_close(store));
  REQUIRE(keeper.kept != NULL);
  CHECK_BYTES("last", keeper.kept->events[keeper.kept->event_count - 1].kv.value);
  watch_response_release(keeper.kept);
}

static watch_status look(void *user_data, watch_stream *stream, const watch_response *response) {
  (void)stream;
  counter_add(user_data, response->flags & WATCH_RESPONSE_CANCELED ? 100 : (int)response->event_count);
  return WATCH_OK;
}

static void a_callback_pins_until_it_returns(void) {
  watch_store *store = open_memory();
  watch_stream *stream = NULL;
  watch_stream_options options;
  counter seen = COUNTER_INIT;
  int64_t id;
  WATCH_INIT(&options);
  options.on_response = look;
  options.user_data = &seen;
  REQUIRE_OK(watch_stream_open(store, &options, &stream));
  id = watch_prefix(stream, "k", 0, 0);
  put(store, "k", "v");
  counter_wait(&seen, 1);
  /* The callback of the cancel is another one, so the first has returned. */
  CHECK_INT(WATCH_OK, watch_stream_cancel(stream, id));
  counter_wait(&seen, 101);
  fill_and_compact(store);
  CHECK_INT(0, pinned_bytes(store));
  watch_stream_close(stream);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void *read_kept(void *argument) {
  const watch_response *kept = argument;
  int i;
  for (i = 0; i < 1000; i++) {
    watch_response_retain(kept);
    CHECK_BYTES("v", kept->events[0].kv.value);
    watch_response_release(kept);
  }
  watch_response_release(kept);
  return NULL;
}

static void views_are_read_from_any_thread(void) {
  enum { THREADS = 4 };
  watch_store *store = open_memory();
  watch_stream *stream = open_stream(store);
  const watch_response *response;
  pthread_t threads[THREADS];
  int i;
  watch_prefix(stream, "k", 0, 0);
  put(store, "k", "v");
  response = next(stream);
  for (i = 0; i < THREADS; i++) {
    const watch_response *own = watch_response_retain(response);
    REQUIRE(pthread_create(&threads[i], NULL, read_kept, (void *)(uintptr_t)own) == 0);
  }
  watch_stream_close(stream);
  CHECK_INT(WATCH_OK, watch_store_close(store));
  for (i = 0; i < THREADS; i++) {
    REQUIRE(pthread_join(threads[i], NULL) == 0);
  }
}

/* Memory of closed handles is used again, but not at once, so late calls are told. */
static void handles_are_used_again(void) {
  watch_store *first = open_memory();
  int i;
  CHECK_INT(WATCH_OK, watch_store_close(first));
  for (i = 0; i < 300; i++) {
    watch_store *store = open_memory();
    watch_stream *stream = open_stream(store);
    if (i < 60) {
      CHECK_INT(WATCH_ERR_CLOSED, watch_store_put(first, B("k"), B("v"), NULL));
    }
    CHECK_INT(2, put(store, "k", "v"));
    watch_stream_close(stream);
    CHECK_INT(WATCH_ERR_CLOSED, watch_stream_shutdown(stream));
    CHECK_INT(WATCH_OK, watch_store_close(store));
  }
}

int main(void) {
  check_start();
  RUN(responses_outlive_stream_store_and_files);
  RUN(results_outlive_the_store);
  RUN(a_part_keeps_the_whole);
  RUN(a_borrow_ends_with_the_next_call);
  RUN(a_borrow_pins_until_the_next_call);
  RUN(a_callback_keeps_what_it_was_lent);
  RUN(a_callback_pins_until_it_returns);
  RUN(views_are_read_from_any_thread);
  RUN(handles_are_used_again);
  return check_done();
}
