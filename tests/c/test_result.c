/* The full forms with every option, and results. */
#include "support.h"

/* k1 .. k5, with values that sort the other way and versions that sort in a third one. */
static watch_store *open_filled(void) {
  watch_store *store = open_memory();
  put(store, "k1", "e"); /* 2 */
  put(store, "k2", "d"); /* 3 */
  put(store, "k3", "c"); /* 4 */
  put(store, "k4", "b"); /* 5 */
  put(store, "k5", "a"); /* 6 */
  put(store, "k3", "c"); /* 7: version 2 */
  put(store, "k1", "e"); /* 8: version 2 */
  put(store, "k1", "e"); /* 9: version 3 */
  return store;
}

static watch_range_request all_of(const char *key) {
  watch_range_request request;
  WATCH_INIT(&request);
  request.key = B(key);
  request.range_end = B("l");
  return request;
}

/* The last letters of the keys of a range, as one word. */
static const char *letters(watch_store *store, const watch_range_request *request) {
  static char word[16];
  const watch_result *result = NULL;
  size_t i;
  REQUIRE_OK(watch_store_range(store, request, &result));
  REQUIRE(result->kv_count < sizeof word);
  for (i = 0; i < result->kv_count; i++) {
    word[i] = (char)result->kvs[i].key.data[result->kvs[i].key.len - 1];
  }
  word[i] = '\0';
  watch_result_release(result);
  return word;
}

static void range_limit_and_count(void) {
  watch_store *store = open_filled();
  watch_range_request request = all_of("k");
  const watch_result *result = NULL;
  request.limit = 2;
  REQUIRE_OK(watch_store_range(store, &request, &result));
  CHECK_INT(2, result->kv_count);
  CHECK_INT(5, result->count);
  CHECK_INT(WATCH_RESULT_MORE, result->flags);
  CHECK_INT(9, result->revision);
  CHECK(result->results == NULL && result->result_count == 0);
  watch_result_release(result);
  request.limit = 5;
  REQUIRE_OK(watch_store_range(store, &request, &result));
  CHECK_INT(5, result->kv_count);
  CHECK_INT(0, result->flags);
  watch_result_release(result);
  request.flags = WATCH_RANGE_COUNT_ONLY;
  REQUIRE_OK(watch_store_range(store, &request, &result));
  CHECK_INT(0, result->kv_count);
  CHECK_INT(5, result->count);
  watch_result_release(result);
  request.flags = WATCH_RANGE_KEYS_ONLY;
  REQUIRE_OK(watch_store_range(store, &request, &result));
  CHECK_INT(5, result->kv_count);
  CHECK_INT(0, result->kvs[0].value.len);
  CHECK_BYTES("k1", result->kvs[0].key);
  watch_result_release(result);
  /* An end that is not above the key matches nothing. */
  request.range_end = B("a");
  REQUIRE_OK(watch_store_range(store, &request, &result));
  CHECK_INT(0, result->kv_count);
  watch_result_release(result);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void range_sorts(void) {
  watch_store *store = open_filled();
  watch_range_request request = all_of("k");
  CHECK_TEXT("12345", letters(store, &request));
  request.sort_order = WATCH_ORDER_DESCEND;
  CHECK_TEXT("54321", letters(store, &request));
  request.sort_target = WATCH_SORT_VALUE;
  CHECK_TEXT("12345", letters(store, &request));
  request.sort_order = WATCH_ORDER_ASCEND;
  CHECK_TEXT("54321", letters(store, &request));
  request.sort_target = WATCH_SORT_MOD;
  CHECK_TEXT("24531", letters(store, &request));
  request.sort_target = WATCH_SORT_CREATE;
  CHECK_TEXT("12345", letters(store, &request));
  request.sort_target = WATCH_SORT_VERSION;
  request.sort_order = WATCH_ORDER_DESCEND;
  request.limit = 2;
  CHECK_TEXT("13", letters(store, &request));
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void range_bounds_and_history(void) {
  watch_store *store = open_filled();
  watch_range_request request = all_of("k");
  request.min_mod_revision = 6;
  request.max_mod_revision = 7;
  CHECK_TEXT("35", letters(store, &request));
  request = all_of("k");
  request.min_create_revision = 3;
  request.max_create_revision = 4;
  CHECK_TEXT("23", letters(store, &request));
  request = all_of("k");
  request.revision = 4;
  CHECK_TEXT("123", letters(store, &request));
  request.revision = 10;
  CHECK_INT(WATCH_ERR_FUTURE_REVISION, watch_store_range(store, &request, NULL));
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void put_with_every_flag(void) {
  watch_store *store = open_memory();
  watch_put_request request;
  const watch_result *result = NULL;
  WATCH_INIT(&request);
  request.key = B("k");
  request.value = B("one");
  request.lease = 11;
  request.flags = WATCH_PUT_PREV_KV;
  REQUIRE_OK(watch_store_put_with(store, &request, &result));
  CHECK_INT(WATCH_OP_PUT, result->op);
  CHECK_INT(2, result->revision);
  CHECK_INT(0, result->kv_count);
  watch_result_release(result);
  request.value = NO_BYTES;
  request.lease = 12;
  request.flags = WATCH_PUT_PREV_KV | WATCH_PUT_IGNORE_VALUE;
  REQUIRE_OK(watch_store_put_with(store, &request, &result));
  REQUIRE(result->kv_count == 1);
  CHECK_BYTES("one", result->kvs[0].value);
  CHECK_INT(11, result->kvs[0].lease);
  watch_result_release(result);
  request.value = B("two");
  request.lease = 0;
  request.flags = WATCH_PUT_IGNORE_LEASE;
  REQUIRE_OK(watch_store_put_with(store, &request, NULL));
  REQUIRE_OK(watch_store_get(store, B("k"), 0, &result));
  CHECK_BYTES("two", result->kvs[0].value);
  CHECK_INT(12, result->kvs[0].lease);
  watch_result_release(result);
  result = NULL;
  request.flags = WATCH_PUT_IGNORE_VALUE;
  CHECK_INT(WATCH_ERR_INVALID_ARGUMENT, watch_store_put_with(store, &request, &result));
  request.value = NO_BYTES;
  request.key = B("absent");
  CHECK_INT(WATCH_ERR_KEY_NOT_FOUND, watch_store_put_with(store, &request, &result));
  CHECK(result == NULL);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void delete_with_returns_what_was(void) {
  watch_store *store = open_filled();
  watch_delete_range_request request;
  const watch_result *result = NULL;
  WATCH_INIT(&request);
  request.key = B("k2");
  request.range_end = B("k4");
  request.flags = WATCH_DELETE_PREV_KV;
  REQUIRE_OK(watch_store_delete_with(store, &request, &result));
  CHECK_INT(WATCH_OP_DELETE_RANGE, result->op);
  CHECK_INT(2, result->count);
  CHECK_INT(10, result->revision);
  REQUIRE(result->kv_count == 2);
  CHECK_BYTES("d", result->kvs[0].value);
  CHECK_BYTES("k3", result->kvs[1].key);
  CHECK_INT(2, result->kvs[1].version);
  watch_result_release(result);
  request.key = B("k5");
  request.range_end = NO_BYTES;
  request.flags = 0;
  REQUIRE_OK(watch_store_delete_with(store, &request, &result));
  CHECK_INT(1, result->count);
  CHECK_INT(0, result->kv_count);
  watch_result_release(result);
  REQUIRE_OK(watch_store_delete_with(store, &request, &result));
  CHECK_INT(0, result->count);
  CHECK_INT(11, result->revision);
  watch_result_release(result);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void result_may_be_unwanted(void) {
  watch_store *store = open_filled();
  watch_range_request range = all_of("k");
  watch_put_request put_request;
  watch_delete_range_request gone;
  watch_txn_request txn;
  WATCH_INIT(&put_request);
  put_request.key = B("k9");
  WATCH_INIT(&gone);
  gone.key = B("k9");
  WATCH_INIT(&txn);
  CHECK_INT(WATCH_OK, watch_store_get(store, B("k1"), 0, NULL));
  CHECK_INT(WATCH_OK, watch_store_range(store, &range, NULL));
  CHECK_INT(WATCH_OK, watch_store_put_with(store, &put_request, NULL));
  CHECK_INT(WATCH_OK, watch_store_delete_with(store, &gone, NULL));
  CHECK_INT(WATCH_OK, watch_store_txn(store, &txn, NULL));
  CHECK_INT(11, watch_store_revision(store));
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void result_lives_while_it_is_retained(void) {
  watch_store *store = open_filled();
  const watch_result *result = NULL;
  REQUIRE_OK(watch_store_get(store, B("k1"), 0, &result));
  CHECK(watch_result_retain(result) == result);
  watch_result_release(result);
  CHECK_BYTES("e", result->kvs[0].value);
  watch_result_release(result);
  CHECK(watch_result_retain(NULL) == NULL);
  watch_result_release(NULL);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

int main(void) {
  check_start();
  RUN(range_limit_and_count);
  RUN(range_sorts);
  RUN(range_bounds_and_history);
  RUN(put_with_every_flag);
  RUN(delete_with_returns_what_was);
  RUN(result_may_be_unwanted);
  RUN(result_lives_while_it_is_retained);
  return check_done();
}
