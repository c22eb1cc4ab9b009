/* hello.c - a store on disk: write a key, read it back, now and as it was before.
 * cc hello.c -lwatch && ./a.out [directory] */
#include <stdio.h>
#include <stdlib.h>
#include <watch.h>

static void check(watch_status status, const char *what) {
  if (status >= 0) return;
  fprintf(stderr, "%s: %s\n", what, watch_last_error());
  exit(1);
}

static void show(watch_store *store, const char *key, int64_t revision) {
  const watch_result *result;
  check(watch_store_get(store, watch_bytes_str(key), revision, &result), "get");
  if (result->kv_count == 0) {
    printf("%s does not exist at revision %lld\n", key, (long long)revision);
  } else {
    const watch_kv *kv = &result->kvs[0];
    printf("%s = %.*s (version %lld, revision %lld)\n", key, (int)kv->value.len, (const char *)kv->value.data,
           (long long)kv->version, (long long)kv->mod_revision);
  }
  watch_result_release(result); /* the bytes above lived as long as the result */
}

int main(int argc, char **argv) {
  watch_store_options options;
  watch_store *store;
  int64_t first, second;

  check(watch_check_version(), "watch.h and libwatch.so do not fit together");
  WATCH_INIT(&options);
  options.flags = WATCH_OPEN_CREATE;
  check(watch_store_open(argc > 1 ? argv[1] : "hello.store", &options, &store), "open");

  check(watch_store_put(store, watch_bytes_str("greeting"), watch_bytes_str("hello"), &first), "put");
  check(watch_store_put(store, watch_bytes_str("greeting"), watch_bytes_str("hello, world"), &second), "put");
  show(store, "greeting", 0); /* 0: now */
  show(store, "greeting", first);
  show(store, "nothing", 0);

  check(watch_store_close(store), "close");
  return 0;
}
