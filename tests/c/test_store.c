/* The store: opening in every way, the short operations, sync, numbers, closing. */
#include "support.h"

#include <errno.h>
#include <sys/wait.h>

static watch_status open_with(const char *path, uint32_t flags, uint32_t durability, watch_store **store) {
  watch_store_options options;
  WATCH_INIT(&options);
  options.flags = flags;
  options.durability = durability;
  return watch_store_open(path, &options, store);
}

static void store_starts_empty(void) {
  watch_store *store = open_memory();
  const watch_result *result = NULL;
  CHECK_INT(1, watch_store_revision(store));
  CHECK_INT(-1, watch_store_compact_revision(store));
  CHECK_INT(WATCH_OK, watch_store_get(store, B("k"), 0, &result));
  CHECK_INT(0, result->kv_count);
  CHECK_INT(0, result->count);
  CHECK(result->kvs == NULL);
  watch_result_release(result);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void store_put_get_delete(void) {
  watch_store *store = open_memory();
  const watch_result *result = NULL;
  int64_t deleted = -1, revision = -1;
  CHECK_INT(2, put(store, "k", "one"));
  CHECK_INT(3, put(store, "k", "two"));
  CHECK_INT(WATCH_OK, watch_store_get(store, B("k"), 0, &result));
  REQUIRE(result->kv_count == 1);
  CHECK_BYTES("k", result->kvs[0].key);
  CHECK_BYTES("two", result->kvs[0].value);
  CHECK_INT(2, result->kvs[0].create_revision);
  CHECK_INT(3, result->kvs[0].mod_revision);
  CHECK_INT(2, result->kvs[0].version);
  CHECK_INT(0, result->kvs[0].lease);
  CHECK_INT(WATCH_OP_RANGE, result->op);
  CHECK_INT(3, result->revision);
  watch_result_release(result);
  CHECK_INT(WATCH_OK, watch_store_get(store, B("k"), 2, &result));
  REQUIRE(result->kv_count == 1);
  CHECK_BYTES("one", result->kvs[0].value);
  watch_result_release(result);
  CHECK_INT(WATCH_OK, watch_store_delete(store, B("absent"), NO_BYTES, &deleted, &revision));
  CHECK_INT(0, deleted);
  CHECK_INT(3, revision);
  CHECK_INT(WATCH_OK, watch_store_delete(store, ALL_KEY, ALL_END, &deleted, &revision));
  CHECK_INT(1, deleted);
  CHECK_INT(4, revision);
  CHECK_INT(WATCH_OK, watch_store_delete(store, B("k"), NO_BYTES, NULL, NULL));
  CHECK_INT(WATCH_OK, watch_store_put(store, B("k"), NO_BYTES, NULL));
  CHECK_INT(5, watch_store_revision(store));
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void store_remembers_after_reopening(void) {
  static const uint32_t modes[] = {WATCH_DURABILITY_DEFAULT, WATCH_DURABILITY_NONE,
                                   WATCH_DURABILITY_INTERVAL, WATCH_DURABILITY_COMMIT};
  size_t i;
  for (i = 0; i < sizeof modes / sizeof modes[0]; i++) {
    char *path = temp_folder();
    watch_store *store = NULL;
    const watch_result *result = NULL;
    int64_t revision;
    REQUIRE_OK(open_with(path, WATCH_OPEN_CREATE, modes[i], &store));
    put(store, "a", "1");
    revision = put(store, "b", "2");
    if (modes[i] == WATCH_DURABILITY_DEFAULT || modes[i] == WATCH_DURABILITY_COMMIT) {
      CHECK(watch_store_durable_revision(store) >= revision);
    }
    CHECK_INT(WATCH_OK, watch_store_sync(store, 0));
    CHECK(watch_store_durable_revision(store) >= revision);
    CHECK_INT(WATCH_OK, watch_store_close(store));
    store = NULL;
    /* Now without CREATE: it is there. */
    REQUIRE_OK(watch_store_open(path, NULL, &store));
    CHECK_INT(revision, watch_store_revision(store));
    CHECK_INT(WATCH_OK, watch_store_get(store, B("b"), 0, &result));
    REQUIRE(result->kv_count == 1);
    CHECK_BYTES("2", result->kvs[0].value);
    watch_result_release(result);
    CHECK_INT(revision + 1, put(store, "c", "3"));
    CHECK_INT(WATCH_OK, watch_store_close(store));
    remove_folder(path);
  }
}

static void store_that_is_not_there_needs_create(void) {
  char *path = temp_folder();
  watch_store *store = NULL;
  watch_error_info info;
  CHECK_INT(WATCH_ERR_IO, watch_store_open(path, NULL, &store));
  WATCH_INIT(&info);
  CHECK_INT(WATCH_OK, watch_last_error_info(&info));
  CHECK_INT(ENOENT, info.os_error);
  CHECK(strstr(info.message, path) != NULL);
  CHECK(open_with(path, WATCH_OPEN_READ_ONLY, 0, &store) < 0);
  CHECK(store == NULL);
  CHECK_INT(WATCH_OK, open_with(path, WATCH_OPEN_CREATE, 0, &store));
  CHECK_INT(WATCH_OK, watch_store_close(store));
  remove_folder(path);
}

static void store_is_opened_once(void) {
  char *path = temp_folder();
  watch_store *store = open_folder(path);
  watch_store *second = NULL;
  CHECK_INT(WATCH_ERR_LOCKED, watch_store_open(path, NULL, &second));
  CHECK(second == NULL);
  CHECK_INT(WATCH_OK, watch_store_close(store));
  CHECK_INT(WATCH_OK, watch_store_open(path, NULL, &second));
  CHECK_INT(WATCH_OK, watch_store_close(second));
  remove_folder(path);
}

static void store_read_only_refuses_writes(void) {
  char *path = temp_folder();
  watch_store *store = open_folder(path);
  watch_txn_request txn;
  watch_put_request request;
  watch_op op;
  const watch_result *result = NULL;
  put(store, "k", "v");
  CHECK_INT(WATCH_OK, watch_store_close(store));
  REQUIRE_OK(open_with(path, WATCH_OPEN_READ_ONLY, 0, &store));
  CHECK_INT(WATCH_ERR_READ_ONLY, watch_store_put(store, B("k"), B("w"), NULL));
  CHECK_INT(WATCH_ERR_READ_ONLY, watch_store_delete(store, B("k"), NO_BYTES, NULL, NULL));
  CHECK_INT(WATCH_ERR_READ_ONLY, watch_store_compact(store, 2, 0));
  WATCH_INIT(&request);
  request.key = B("k");
  op.type = WATCH_OP_PUT;
  op.reserved = 0;
  op.request.put = &request;
  WATCH_INIT(&txn);
  txn.success = &op;
  txn.success_count = 1;
  CHECK_INT(WATCH_ERR_READ_ONLY, watch_store_txn(store, &txn, NULL));
  CHECK_INT(WATCH_OK, watch_store_get(store, B("k"), 0, &result));
  REQUIRE(result->kv_count == 1);
  CHECK_BYTES("v", result->kvs[0].value);
  watch_result_release(result);
  CHECK_INT(2, watch_store_revision(store));
  CHECK_INT(WATCH_OK, watch_store_close(store));
  remove_folder(path);
}

static void store_in_memory_leaves_no_files(void) {
  char *path = temp_folder();
  watch_store *store = NULL;
  REQUIRE_OK(open_with(path, WATCH_OPEN_MEMORY | WATCH_OPEN_CREATE, WATCH_DURABILITY_COMMIT, &store));
  CHECK_INT(2, put(store, "k", "v"));
  CHECK_INT(WATCH_OK, watch_store_sync(store, 2));
  CHECK(access(path, F_OK) != 0);
  CHECK_INT(WATCH_OK, watch_store_close(store));
  REQUIRE_OK(open_with(NULL, WATCH_OPEN_MEMORY, 0, &store));
  CHECK_INT(1, watch_store_revision(store));
  CHECK_INT(WATCH_OK, watch_store_close(store));
  remove_folder(path);
}

static void store_sync_of_a_revision_to_come(void) {
  watch_store *store = open_memory();
  CHECK_INT(WATCH_ERR_FUTURE_REVISION, watch_store_sync(store, 2));
  CHECK_INT(WATCH_ERR_INVALID_ARGUMENT, watch_store_sync(store, -1));
  put(store, "k", "v");
  CHECK_INT(WATCH_OK, watch_store_sync(store, 2));
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void store_stats_count(void) {
  watch_store *store = open_memory();
  watch_stream *stream = open_stream(store);
  watch_store_stats stats;
  watch_put_request request;
  watch_op op;
  watch_txn_request txn;
  int64_t id = watch_prefix(stream, "k", 0, 0);
  put(store, "k1", "v");
  put(store, "k2", "v");
  CHECK_INT(WATCH_OK, watch_store_delete(store, B("k1"), NO_BYTES, NULL, NULL));
  WATCH_INIT(&request);
  request.key = B("k3");
  op.type = WATCH_OP_PUT;
  op.reserved = 0;
  op.request.put = &request;
  WATCH_INIT(&txn);
  txn.success = &op;
  txn.success_count = 1;
  CHECK_INT(WATCH_OK, watch_store_txn(store, &txn, NULL));
  CHECK_INT(2, next(stream)->events[0].kv.mod_revision);
  WATCH_INIT(&stats);
  CHECK_INT(WATCH_OK, watch_store_stats_read(store, &stats));
  CHECK_INT(sizeof stats, stats.size);
  CHECK_INT(5, stats.revision);
  CHECK_INT(-1, stats.compact_revision);
  CHECK(stats.durable_revision >= 1 && stats.durable_revision <= 5);
  CHECK(stats.key_count >= 2 && stats.key_count <= 3);
  CHECK_INT(1, stats.stream_count);
  CHECK_INT(1, stats.watch_count);
  CHECK_INT(1, stats.watch_synced_count + stats.watch_unsynced_count + stats.watch_victim_count);
  CHECK(stats.put_total >= 2 && stats.put_total <= 3);
  CHECK_INT(1, stats.delete_total);
  CHECK(stats.txn_total >= 1);
  CHECK(stats.event_delivered_total >= 1);
  CHECK_INT(WATCH_OK, watch_stream_cancel(stream, id));
  watch_stream_close(stream);
  CHECK_INT(WATCH_OK, watch_store_stats_read(store, &stats));
  CHECK_INT(0, stats.stream_count);
  CHECK_INT(0, stats.watch_count);
  CHECK_INT(0, stats.oldest_watch_revision);
  /* A caller with an older, shorter struct keeps what lies behind it. */
  memset(&stats, 0x55, sizeof stats);
  stats.size = offsetof(watch_store_stats, compact_revision);
  CHECK_INT(WATCH_OK, watch_store_stats_read(store, &stats));
  CHECK_INT(5, stats.revision);
  CHECK_INT(0x5555555555555555, stats.compact_revision);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void store_closed_answers_closed(void) {
  watch_store *store = open_memory();
  watch_store_stats stats;
  watch_stream *stream = NULL;
  CHECK_INT(WATCH_OK, watch_store_close(NULL));
  CHECK_INT(WATCH_OK, watch_store_close(store));
  CHECK_INT(WATCH_ERR_CLOSED, watch_store_put(store, B("k"), B("v"), NULL));
  CHECK_INT(WATCH_ERR_CLOSED, watch_store_get(store, B("k"), 0, NULL));
  CHECK_INT(WATCH_ERR_CLOSED, watch_store_sync(store, 0));
  CHECK_INT(WATCH_ERR_CLOSED, watch_store_compact(store, 1, 0));
  CHECK_INT(WATCH_ERR_CLOSED, watch_stream_open(store, NULL, &stream));
  CHECK(stream == NULL);
  WATCH_INIT(&stats);
  CHECK_INT(WATCH_ERR_CLOSED, watch_store_stats_read(store, &stats));
  CHECK_INT(0, watch_store_revision(store));
  CHECK_INT(WATCH_ERR_CLOSED, watch_store_close(store));
}

/* In a forked child: every call says so, and nothing of the parent is touched. The number of the first wrong
 * one. */
static int calls_after_fork(watch_store *store, watch_stream *stream) {
  const watch_response *response = NULL;
  watch_stream *other = NULL;
  if (watch_store_put(store, B("k"), B("child"), NULL) != WATCH_ERR_FORKED) {
    return 1;
  }
  if (watch_store_get(store, B("k"), 0, NULL) != WATCH_ERR_FORKED) {
    return 2;
  }
  if (watch_store_sync(store, 0) != WATCH_ERR_FORKED) {
    return 3;
  }
  if (watch_stream_next(stream, 0, &response) != WATCH_ERR_FORKED) {
    return 4;
  }
  if (watch_stream_open(store, NULL, &other) != WATCH_ERR_FORKED) {
    return 5;
  }
  return watch_stream_cancel(stream, 1) == WATCH_ERR_FORKED ? 0 : 6;
}

static void store_of_the_parent_is_told_apart(void) {
  char *path = temp_folder();
  watch_store *store = open_folder(path);
  watch_stream *stream = open_stream(store);
  pid_t child;
  int pipe_of_child[2], status = 0, wrong = -1;
  watch_prefix(stream, "k", 0, 0);
  REQUIRE(pipe(pipe_of_child) == 0);
  child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    /* Through a pipe: memcheck changes the exit code, since the child leaks what the test holds. */
    wrong = calls_after_fork(store, stream);
    _exit(write(pipe_of_child[1], &wrong, sizeof wrong) == sizeof wrong ? 0 : 1);
  }
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  REQUIRE(close(pipe_of_child[1]) == 0);
  CHECK_INT(sizeof wrong, read(pipe_of_child[0], &wrong, sizeof wrong));
  CHECK_INT(0, wrong);
  close(pipe_of_child[0]);
  put(store, "k", "parent");
  CHECK_BYTES("parent", next(stream)->events[0].kv.value);
  watch_stream_close(stream);
  CHECK_INT(WATCH_OK, watch_store_close(store));
  remove_folder(path);
}

static void store_prefix_end(void) {
  uint8_t buf[4];
  uint8_t own[2] = {'a', 0xff};
  watch_bytes end;
  CHECK_INT(WATCH_OK, watch_prefix_end(B("ab"), buf, 2, &end));
  CHECK(end.data == buf);
  CHECK_BYTES("ac", end);
  CHECK_INT(WATCH_OK, watch_prefix_end(watch_bytes_of("a\xff", 2), buf, 2, &end));
  CHECK_BYTES("b", end);
  CHECK_INT(WATCH_OK, watch_prefix_end(watch_bytes_of("\xff", 1), buf, 1, &end));
  CHECK(end.len == 1 && buf[0] == 0);
  CHECK_INT(WATCH_OK, watch_prefix_end(NO_BYTES, buf, 1, &end));
  CHECK(end.len == 1 && buf[0] == 0);
  CHECK_INT(WATCH_OK, watch_prefix_end(watch_bytes_of(own, 2), own, 2, &end));
  CHECK(end.data == own && end.len == 1 && own[0] == 'b');
  CHECK_INT(WATCH_ERR_INVALID_ARGUMENT, watch_prefix_end(B("ab"), buf, 1, &end));
  CHECK_INT(WATCH_ERR_INVALID_ARGUMENT, watch_prefix_end(NO_BYTES, buf, 0, &end));
}

struct lines {
  counter count;
  counter destroyed;
  uint32_t level_largest;
};

static void take_line(void *user_data, uint32_t level, const char *message) {
  struct lines *lines = user_data;
  if (level > lines->level_largest) {
    lines->level_largest = level;
  }
  CHECK(level >= WATCH_LOG_ERROR && strlen(message) > 0);
  counter_add(&lines->count, 1);
}

static void lines_destroyed(void *user_data) {
  counter_add(&((struct lines *)user_data)->destroyed, 1);
}

static void log_goes_to_the_function_until_it_is_replaced(void) {
  static struct lines first = {COUNTER_INIT, COUNTER_INIT, 0}, second = {COUNTER_INIT, COUNTER_INIT, 0};
  int lines;
  char *path = temp_folder();
  CHECK_INT(WATCH_OK, watch_log_set(WATCH_LOG_DEBUG, take_line, &first, lines_destroyed));
  CHECK_INT(WATCH_OK, watch_store_close(open_folder(path)));
  CHECK(counter_get(&first.count) > 0);
  CHECK(first.level_largest <= WATCH_LOG_DEBUG);
  CHECK_INT(WATCH_OK, watch_log_set(WATCH_LOG_ERROR, take_line, &second, lines_destroyed));
  CHECK_INT(1, counter_get(&first.destroyed));
  lines = counter_get(&first.count);
  CHECK_INT(WATCH_OK, watch_store_close(open_folder(path)));
  CHECK_INT(lines, counter_get(&first.count));
  CHECK_INT(WATCH_OK, watch_log_set(0, NULL, NULL, NULL));
  CHECK_INT(1, counter_get(&second.destroyed));
  /* Whatever is wrong, the data is ended. */
  CHECK_INT(WATCH_ERR_INVALID_ARGUMENT, watch_log_set(9, take_line, &second, lines_destroyed));
  CHECK_INT(WATCH_ERR_INVALID_ARGUMENT, watch_log_set(0, take_line, &second, lines_destroyed));
  CHECK_INT(3, counter_get(&second.destroyed));
  CHECK_INT(WATCH_OK, watch_log_set(WATCH_LOG_INFO, NULL, &second, lines_destroyed));
  CHECK_INT(4, counter_get(&second.destroyed));
  CHECK_INT(1, counter_get(&first.destroyed));
  remove_folder(path);
}

int main(void) {
  check_start();
  RUN(store_starts_empty);
  RUN(store_put_get_delete);
  RUN(store_remembers_after_reopening);
  RUN(store_that_is_not_there_needs_create);
  RUN(store_is_opened_once);
  RUN(store_read_only_refuses_writes);
  RUN(store_in_memory_leaves_no_files);
  RUN(store_sync_of_a_revision_to_come);
  RUN(store_stats_count);
  RUN(store_closed_answers_closed);
  RUN(store_of_the_parent_is_told_apart);
  RUN(store_prefix_end);
  RUN(log_goes_to_the_function_until_it_is_replaced);
  return check_done();
}
