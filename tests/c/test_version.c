/* What the library says about itself, and that the macros of the header count the same. */
#include "support.h"

static void version_number_is_the_headers(void) {
  CHECK_INT(WATCH_VERSION_NUMBER, watch_version_number());
  CHECK_INT(WATCH_VERSION_MAJOR * 1000000 + WATCH_VERSION_MINOR * 1000 + WATCH_VERSION_PATCH,
            WATCH_VERSION_NUMBER);
  CHECK_INT(WATCH_ABI_VERSION, watch_abi_version());
  CHECK_INT(WATCH_OK, watch_check_version());
}

static void version_string_has_the_three_numbers(void) {
  char text[64];
  snprintf(text, sizeof text, "%d.%d.%d", WATCH_VERSION_MAJOR, WATCH_VERSION_MINOR, WATCH_VERSION_PATCH);
  CHECK_TEXT(text, watch_version_string());
  CHECK(strstr(watch_build_info(), text) != NULL);
  CHECK(strchr(watch_build_info(), '\n') == NULL);
}

static void version_features_are_known_bits(void) {
  uint64_t known = WATCH_FEATURE_FD | WATCH_FEATURE_DIRECT_SYNC;
  CHECK_INT(0, watch_features() & ~known);
#ifdef __linux__
  CHECK(watch_features() & WATCH_FEATURE_FD);
#endif
}

static void version_init_clears_and_sizes(void) {
  watch_create_request request;
  memset(&request, 0xff, sizeof request);
  WATCH_INIT(&request);
  CHECK_INT(sizeof request, request.size);
  CHECK(request.key.data == NULL && request.key.len == 0 && request.watch_data == NULL);
  CHECK_INT(0, request.start_revision | request.watch_id | request.flags | request.filters);
}

static void version_has_looks_at_the_size(void) {
  watch_result view;
  memset(&view, 0, sizeof view);
  view.size = offsetof(watch_result, results);
  CHECK(WATCH_HAS(watch_result, &view, kv_count));
  CHECK(!WATCH_HAS(watch_result, &view, results));
  view.size = sizeof view;
  CHECK(WATCH_HAS(watch_result, &view, result_count));
}

static void version_bytes_helpers(void) {
  watch_bytes bytes = watch_bytes_of("a\0b", 3);
  CHECK_INT(3, bytes.len);
  CHECK(memcmp(bytes.data, "a\0b", 3) == 0);
  CHECK_BYTES("text", watch_bytes_str("text"));
  CHECK_INT(0, watch_bytes_str("").len);
}

int main(void) {
  check_start();
  RUN(version_number_is_the_headers);
  RUN(version_string_has_the_three_numbers);
  RUN(version_features_are_known_bits);
  RUN(version_init_clears_and_sizes);
  RUN(version_has_looks_at_the_size);
  RUN(version_bytes_helpers);
  return check_done();
}
