/* check.h - the harness of the C tests: a test is a function, RUN counts it, CHECK_DONE prints the sum.
 * A watchdog ends a program that hangs: WATCH_TEST_SECONDS, 60 if not set. */
#ifndef CHECK_H
#define CHECK_H

#ifndef _XOPEN_SOURCE
#define _XOPEN_SOURCE 700
#endif

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "watch.h"

static int check_passed, check_failed;      /* tests */
static volatile int check_wrong;            /* checks of the running test */
static const char *volatile check_name = "";

static inline void check_hang(int number) {
  static const char line[] = "watchdog: the test hangs: ";
  (void)number;
  if (write(2, line, sizeof line - 1) < 0 || write(2, check_name, strlen(check_name)) < 0 ||
      write(2, "\n", 1) < 0) {
    _exit(4);
  }
  _exit(3);
}

static inline void check_start(void) {
  const char *seconds = getenv("WATCH_TEST_SECONDS");
  signal(SIGALRM, check_hang);
  alarm(seconds != NULL ? (unsigned)atoi(seconds) : 60u);
  setvbuf(stdout, NULL, _IOLBF, 0);
}

static inline int check_true(int holds, const char *file, int line, const char *text) {
  if (!holds) {
    check_wrong++;
    printf("%s:%d: %s: %s; last error: %s\n", file, line, check_name, text, watch_last_error());
  }
  return holds;
}

static inline int check_int(int64_t expected, int64_t found, const char *file, int line, const char *text) {
  if (expected != found) {
    check_wrong++;
    printf("%s:%d: %s: %s is %" PRId64 ", not %" PRId64 "; last error: %s\n", file, line, check_name, text,
           found, expected, watch_last_error());
  }
  return expected == found;
}

static inline int check_bytes(const char *expected, watch_bytes found, const char *file, int line,
                              const char *text) {
  size_t len = strlen(expected);
  int same = found.len == len && (len == 0 || memcmp(found.data, expected, len) == 0);
  if (!same) {
    check_wrong++;
    printf("%s:%d: %s: %s is '%.*s' (%zu bytes), not '%s'\n", file, line, check_name, text,
           (int)(found.len < 80 ? found.len : 80), found.data == NULL ? "" : (const char *)found.data,
           found.len, expected);
  }
  return same;
}

#define CHECK(condition) check_true((condition) != 0, __FILE__, __LINE__, #condition)
#define CHECK_INT(expected, found) \
  check_int((int64_t)(expected), (int64_t)(found), __FILE__, __LINE__, #found)
#define CHECK_BYTES(expected, found) check_bytes((expected), (found), __FILE__, __LINE__, #found)
#define CHECK_TEXT(expected, found) \
  check_true(strcmp((expected), (found)) == 0, __FILE__, __LINE__, #found " == " #expected)
/* For what the rest of the test cannot do without. */
#define REQUIRE(condition) \
  do {                     \
    if (!CHECK(condition)) { \
      printf("%d passed, %d failed\n", check_passed, check_failed + 1); \
      exit(1);             \
    }                      \
  } while (0)
#define REQUIRE_OK(call) REQUIRE((call) == WATCH_OK)

static inline void check_begin(const char *name) {
  check_name = name;
  check_wrong = 0;
}

static inline void check_end(void) {
  if (check_wrong == 0) {
    check_passed++;
  } else {
    check_failed++;
    printf("FAILED %s\n", check_name);
  }
}

#define RUN(test)       \
  do {                  \
    check_begin(#test); \
    test();             \
    check_end();        \
  } while (0)

static inline int check_done(void) {
  printf("%d passed, %d failed\n", check_passed, check_failed);
  return check_failed == 0 && check_passed > 0 ? 0 : 1;
}

#endif
