/* Checking and copying whole stores. */
#include "support.h"

#include <errno.h>

#if UINTPTR_MAX == UINT64_MAX
typedef char backup_report_size[sizeof(watch_backup_report) == 32 ? 1 : -1];
typedef char verify_report_size[sizeof(watch_verify_report) == 88 ? 1 : -1];
typedef char torn_bytes_place[offsetof(watch_verify_report, torn_bytes) == 64 ? 1 : -1];
typedef char closed_place[offsetof(watch_verify_report, closed) == 84 ? 1 : -1];
#endif

static watch_store *open_read_only(const char *path) {
  watch_store_options options;
  watch_store *store = NULL;
  WATCH_INIT(&options);
  options.flags = WATCH_OPEN_READ_ONLY;
  REQUIRE_OK(watch_store_open(path, &options, &store));
  return store;
}

static char *inside(const char *folder, const char *name) {
  size_t room = strlen(folder) + strlen(name) + 2;
  char *path = malloc(room);
  REQUIRE(path != NULL);
  snprintf(path, room, "%s/%s", folder, name);
  return path;
}

/* etcd 19.1: what was answered is in the files. */
static void a_closed_store_is_sound(void) {
  char *path = temp_folder();
  watch_store *store = open_folder(path);
  watch_verify_report report;
  put(store, "a", "1");
  put(store, "b", "2");
  CHECK_INT(WATCH_OK, watch_store_delete(store, B("a"), NO_BYTES, NULL, NULL));
  CHECK_INT(WATCH_ERR_LOCKED, watch_verify(path, NULL));
  CHECK_INT(WATCH_OK, watch_store_close(store));
  CHECK_INT(WATCH_OK, watch_verify(path, NULL));
  WATCH_INIT(&report);
  CHECK_INT(WATCH_OK, watch_verify(path, &report));
  CHECK_INT(4, report.revision);
  CHECK_INT(-1, report.compact_revision);
  CHECK_INT(1, report.key_count);
  CHECK_INT(0, report.base_key_count);
  CHECK_INT(3, report.transaction_count);
  CHECK_INT(3, report.change_count);
  CHECK_INT(0, report.torn_bytes);
  CHECK_INT(1, report.segment_count);
  CHECK_INT(0, report.base_part_count);
  CHECK_INT(4, report.manifest_copies);
  CHECK_INT(1, report.closed);
  CHECK(report.bytes >= SEGMENT_BYTES);
  remove_folder(path);
}

/* etcd 19.9: damage is named with its file and place, and the report is left alone. */
static void damage_is_named(void) {
  char *path = temp_folder();
  char *segment = inside(path, "seg-0000000000000001.lws");
  watch_store *store = open_folder(path);
  watch_verify_report report;
  FILE *file;
  put(store, "a", "1");
  put(store, "b", "2");
  CHECK_INT(WATCH_OK, watch_store_close(store));
  file = fopen(segment, "r+b");
  REQUIRE(file != NULL && fseek(file, 4096 + 40 + 60, SEEK_SET) == 0 && fputc('!', file) == '!');
  REQUIRE(fclose(file) == 0);
  WATCH_INIT(&report);
  report.revision = 77;
  CHECK_INT(WATCH_ERR_CORRUPT, watch_verify(path, &report));
  CHECK(strstr(watch_last_error(), "seg-0000000000000001.lws, offset 4136") != NULL);
  CHECK_INT(77, report.revision);
  free(segment);
  remove_folder(path);
}

/* etcd 1.1: the copy has the history up to its revision, and no revision has two contents. */
static void a_copy_is_a_store_of_its_own(void) {
  char *path = temp_folder();
  watch_store *store = open_memory(), *copy;
  const watch_result *result = NULL;
  watch_backup_report report;
  put(store, "k", "one");
  put(store, "k", "two");
  WATCH_INIT(&report);
  CHECK_INT(WATCH_OK, watch_store_backup(store, path, &report));
  CHECK_INT(3, report.revision);
  CHECK(report.fork_revision > report.revision && report.bytes > 0);
  CHECK_INT(4, put(store, "k", "of the original"));
  CHECK_INT(WATCH_OK, watch_verify(path, NULL));
  copy = open_read_only(path);
  CHECK_INT(3, watch_store_revision(copy));
  CHECK_INT(WATCH_OK, watch_store_get(copy, B("k"), 2, &result));
  REQUIRE(result->kv_count == 1);
  CHECK_BYTES("one", result->kvs[0].value);
  watch_result_release(result);
  CHECK_INT(WATCH_OK, watch_store_close(copy));
  copy = open_folder(path);
  CHECK_INT(report.fork_revision + 1, put(copy, "k", "of the copy"));
  CHECK_INT(WATCH_OK, watch_store_close(copy));
  CHECK_INT(WATCH_OK, watch_store_close(store));
  remove_folder(path);
}

/* etcd 19.8: bad input is refused before anything is written. */
static void bad_input_is_refused(void) {
  char *path = temp_folder();
  watch_store *store = open_memory();
  watch_error_info info;
  watch_verify_report verified;
  struct {
    watch_backup_report known;
    uint64_t unknown;
  } report;
  memset(&report, 0, sizeof report);
  CHECK_INT(WATCH_ERR_INVALID_ARGUMENT, watch_store_backup(store, path, &report.known));
  report.known.size = sizeof report;
  report.unknown = 1;
  CHECK_INT(WATCH_ERR_UNSUPPORTED, watch_store_backup(store, path, &report.known));
  CHECK_INT(WATCH_ERR_INVALID_ARGUMENT, watch_store_backup(store, NULL, NULL));
  CHECK_INT(WATCH_ERR_INVALID_ARGUMENT, watch_store_backup(NULL, path, NULL));
  CHECK_INT(WATCH_ERR_INVALID_ARGUMENT, watch_verify(NULL, NULL));
  CHECK_INT(WATCH_ERR_IO, watch_verify(path, NULL));
  memset(&verified, 0, sizeof verified);
  CHECK_INT(WATCH_ERR_INVALID_ARGUMENT, watch_verify(path, &verified));
  CHECK(access(path, F_OK) != 0);
  CHECK_INT(WATCH_OK, watch_store_backup(store, path, NULL));
  CHECK(access(path, F_OK) == 0);
  CHECK_INT(WATCH_ERR_IO, watch_store_backup(store, path, NULL));
  WATCH_INIT(&info);
  CHECK_INT(WATCH_OK, watch_last_error_info(&info));
  CHECK_INT(EEXIST, info.os_error);
  CHECK_INT(WATCH_OK, watch_verify(path, NULL));
  CHECK_INT(WATCH_OK, watch_store_close(store));
  remove_folder(path);
}

int main(void) {
  check_start();
  RUN(a_closed_store_is_sound);
  RUN(damage_is_named);
  RUN(a_copy_is_a_store_of_its_own);
  RUN(bad_input_is_refused);
  return check_done();
}
