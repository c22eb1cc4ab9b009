/* Statuses have names and sentences; the last failure belongs to the thread that failed. */
#include "support.h"

static const struct {
  watch_status status;
  const char *name;
} all[] = {
#define ROW(status) {status, #status}
    ROW(WATCH_OK), ROW(WATCH_AGAIN), ROW(WATCH_ERR_INVALID_ARGUMENT), ROW(WATCH_ERR_INVALID_STATE),
    ROW(WATCH_ERR_UNSUPPORTED), ROW(WATCH_ERR_ABI_MISMATCH), ROW(WATCH_ERR_CLOSED), ROW(WATCH_ERR_BUSY),
    ROW(WATCH_ERR_LIMIT), ROW(WATCH_ERR_COMPACTED), ROW(WATCH_ERR_FUTURE_REVISION), ROW(WATCH_ERR_EMPTY_KEY),
    ROW(WATCH_ERR_EMPTY_RANGE), ROW(WATCH_ERR_KEY_NOT_FOUND), ROW(WATCH_ERR_DUPLICATE_KEY),
    ROW(WATCH_ERR_DUPLICATE_WATCH_ID), ROW(WATCH_ERR_WATCH_NOT_FOUND), ROW(WATCH_ERR_IO),
    ROW(WATCH_ERR_NO_SPACE), ROW(WATCH_ERR_CORRUPT), ROW(WATCH_ERR_LOCKED), ROW(WATCH_ERR_READ_ONLY),
    ROW(WATCH_ERR_FORMAT), ROW(WATCH_ERR_POISONED), ROW(WATCH_ERR_FILESYSTEM), ROW(WATCH_ERR_NO_MEMORY),
    ROW(WATCH_ERR_PANIC), ROW(WATCH_ERR_FORKED),
};
enum { ALL_COUNT = sizeof all / sizeof all[0] };

static void status_has_name_and_message(void) {
  size_t i, j;
  for (i = 0; i < ALL_COUNT; i++) {
    const char *message = watch_status_message(all[i].status);
    CHECK_TEXT(all[i].name, watch_status_name(all[i].status));
    CHECK(strlen(message) > 3 && strchr(message, '\n') == NULL);
    for (j = 0; j < i; j++) {
      CHECK(all[i].status != all[j].status);
    }
  }
}

static void status_unknown_has_words_too(void) {
  CHECK_TEXT("WATCH_ERR_UNKNOWN", watch_status_name(-1000));
  CHECK_TEXT("WATCH_ERR_UNKNOWN", watch_status_name(77));
  CHECK(strlen(watch_status_message(-1000)) > 3);
}

static void *fresh_thread(void *unused) {
  watch_error_info info;
  (void)unused;
  CHECK_TEXT("", watch_last_error());
  WATCH_INIT(&info);
  CHECK_INT(WATCH_OK, watch_last_error_info(&info));
  CHECK_INT(WATCH_OK, info.status);
  CHECK_TEXT("", info.message);
  CHECK_INT(WATCH_ERR_INVALID_ARGUMENT, watch_store_sync(NULL, 0));
  CHECK(strlen(watch_last_error()) > 0);
  return NULL;
}

static void last_error_belongs_to_the_thread(void) {
  watch_store *store = open_memory();
  pthread_t thread;
  char before[256];
  CHECK_INT(WATCH_ERR_EMPTY_KEY, watch_store_put(store, NO_BYTES, B("v"), NULL));
  snprintf(before, sizeof before, "%s", watch_last_error());
  CHECK(strlen(before) > 0);
  REQUIRE(pthread_create(&thread, NULL, fresh_thread, NULL) == 0);
  REQUIRE(pthread_join(thread, NULL) == 0);
  CHECK_TEXT(before, watch_last_error());
  /* A success leaves it alone. */
  put(store, "k", "v");
  CHECK_TEXT(before, watch_last_error());
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void last_error_info_has_the_numbers(void) {
  watch_store *store = open_memory();
  watch_error_info info;
  int64_t revision = 0;
  int i;
  for (i = 0; i < 5; i++) {
    revision = put(store, "k", "v");
  }
  CHECK_INT(WATCH_OK, watch_store_compact(store, 4, 0));
  WATCH_INIT(&info);
  CHECK_INT(WATCH_ERR_COMPACTED, watch_store_get(store, B("k"), 3, NULL));
  CHECK_INT(WATCH_OK, watch_last_error_info(&info));
  CHECK_INT(WATCH_ERR_COMPACTED, info.status);
  CHECK_INT(4, info.compact_revision);
  CHECK_INT(0, info.current_revision);
  CHECK_INT(0, info.os_error);
  CHECK(info.message == watch_last_error());
  CHECK_INT(sizeof info, info.size);
  CHECK_INT(WATCH_ERR_FUTURE_REVISION, watch_store_get(store, B("k"), revision + 1, NULL));
  CHECK_INT(WATCH_OK, watch_last_error_info(&info));
  CHECK_INT(WATCH_ERR_FUTURE_REVISION, info.status);
  CHECK_INT(0, info.compact_revision);
  CHECK_INT(revision, info.current_revision);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void last_error_info_of_other_sizes(void) {
  struct longer {
    watch_error_info info;
    uint64_t added;
  } longer;
  watch_error_info shorter;
  CHECK_INT(WATCH_ERR_INVALID_ARGUMENT, watch_store_sync(NULL, 0));
  memset(&shorter, 0x55, sizeof shorter);
  shorter.size = offsetof(watch_error_info, os_error);
  CHECK_INT(WATCH_OK, watch_last_error_info(&shorter));
  CHECK_INT(WATCH_ERR_INVALID_ARGUMENT, shorter.status);
  CHECK_INT(0x55555555, shorter.os_error);
  memset(&longer, 0, sizeof longer);
  longer.info.size = sizeof longer;
  CHECK_INT(WATCH_OK, watch_last_error_info(&longer.info));
  CHECK(longer.info.message != NULL && longer.added == 0);
  longer.added = 1;
  CHECK_INT(WATCH_ERR_UNSUPPORTED, watch_last_error_info(&longer.info));
  CHECK_INT(WATCH_ERR_INVALID_ARGUMENT, watch_last_error_info(NULL));
}

int main(void) {
  check_start();
  RUN(status_has_name_and_message);
  RUN(status_unknown_has_words_too);
  RUN(last_error_belongs_to_the_thread);
  RUN(last_error_info_has_the_numbers);
  RUN(last_error_info_of_other_sizes);
  return check_done();
}
