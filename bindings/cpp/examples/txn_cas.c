/* txn_cas.c - compare and swap: a counter that any number of threads may raise, none of them losing a step.
 * cc -pthread txn_cas.c -lwatch && ./a.out */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <watch.h>

enum { THREADS = 4, STEPS = 100 };
static watch_store *store;

static void check(watch_status status, const char *what) {
  if (status >= 0) return;
  fprintf(stderr, "%s: %s\n", what, watch_last_error());
  exit(1);
}

/* The counter, and the revision of its last change: 0 for none. */
static long read_counter(int64_t *mod_revision) {
  const watch_result *result;
  long count = 0;
  *mod_revision = 0;
  check(watch_store_get(store, watch_bytes_str("counter"), 0, &result), "get");
  if (result->kv_count == 1) { /* the value has its terminating NUL with it: swap wrote it */
    count = strtol((const char *)result->kvs[0].value.data, NULL, 10);
    *mod_revision = result->kvs[0].mod_revision;
  }
  watch_result_release(result);
  return count;
}

static int swap(long count, int64_t mod_revision) { /* 1: written, 0: somebody was faster */
  watch_compare unchanged = {0};
  watch_put_request put;
  watch_op op = {0};
  watch_txn_request txn;
  const watch_result *result;
  char text[32];
  int written;

  snprintf(text, sizeof text, "%ld", count);
  unchanged.target = WATCH_COMPARE_MOD, unchanged.result = WATCH_EQUAL;
  unchanged.key = watch_bytes_str("counter");
  unchanged.number = mod_revision;
  WATCH_INIT(&put);
  put.key = unchanged.key;
  put.value = watch_bytes_of(text, strlen(text) + 1);
  op.type = WATCH_OP_PUT, op.request.put = &put;
  WATCH_INIT(&txn);
  txn.compare = &unchanged, txn.compare_count = 1, txn.success = &op, txn.success_count = 1;
  check(watch_store_txn(store, &txn, &result), "txn");
  written = (result->flags & WATCH_RESULT_SUCCEEDED) != 0;
  watch_result_release(result);
  return written;
}

static void *raise_counter(void *unused) {
  int64_t revision;
  int i;
  for (i = 0; i < STEPS; ++i)
    while (!swap(read_counter(&revision) + 1, revision)) continue;
  return unused;
}

int main(void) {
  watch_store_options options;
  pthread_t threads[THREADS];
  int64_t revision;
  long count;
  int i;
  WATCH_INIT(&options), options.flags = WATCH_OPEN_MEMORY;
  check(watch_store_open(NULL, &options, &store), "open");
  for (i = 0; i < THREADS; ++i) pthread_create(&threads[i], NULL, raise_counter, NULL);
  for (i = 0; i < THREADS; ++i) pthread_join(threads[i], NULL);
  count = read_counter(&revision);
  printf("counter = %ld\n", count);
  check(watch_store_close(store), "close");
  return count == THREADS * STEPS ? 0 : 1;
}
