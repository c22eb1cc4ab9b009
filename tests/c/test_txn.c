/* Transactions: compares, both lists, nesting, and results that are parts of one. */
#include "support.h"

static watch_op put_op(watch_put_request *request, const char *key, const char *value) {
  watch_op op;
  WATCH_INIT(request);
  request->key = B(key);
  request->value = B(value);
  op.type = WATCH_OP_PUT;
  op.reserved = 0;
  op.request.put = request;
  return op;
}

static watch_op range_op(watch_range_request *request, const char *key) {
  watch_op op;
  WATCH_INIT(request);
  request->key = B(key);
  op.type = WATCH_OP_RANGE;
  op.reserved = 0;
  op.request.range = request;
  return op;
}

static watch_op delete_op(watch_delete_range_request *request, const char *key, uint32_t flags) {
  watch_op op;
  WATCH_INIT(request);
  request->key = B(key);
  request->flags = flags;
  op.type = WATCH_OP_DELETE_RANGE;
  op.reserved = 0;
  op.request.delete_range = request;
  return op;
}

static watch_compare compare(uint32_t target, uint32_t result, const char *key) {
  watch_compare c;
  memset(&c, 0, sizeof c);
  c.target = target;
  c.result = result;
  c.key = B(key);
  return c;
}

/* Whether a transaction of nothing but this compare succeeds. */
static int holds(watch_store *store, const watch_compare *c) {
  watch_txn_request txn;
  const watch_result *result = NULL;
  int succeeded;
  WATCH_INIT(&txn);
  txn.compare = c;
  txn.compare_count = 1;
  REQUIRE_OK(watch_store_txn(store, &txn, &result));
  CHECK_INT(0, result->result_count);
  succeeded = (result->flags & WATCH_RESULT_SUCCEEDED) != 0;
  watch_result_release(result);
  return succeeded;
}

static void txn_compares_each_number(void) {
  /* k: create 2, mod 4, version 3, lease 7 */
  static const int64_t stored[] = {3, 2, 4, 0, 7};
  watch_store *store = open_memory();
  watch_put_request request;
  uint32_t target;
  put(store, "k", "a");
  put(store, "k", "b");
  put_op(&request, "k", "c");
  request.lease = 7;
  REQUIRE_OK(watch_store_put_with(store, &request, NULL));
  for (target = WATCH_COMPARE_VERSION; target <= WATCH_COMPARE_LEASE; target++) {
    int64_t by;
    if (target == WATCH_COMPARE_VALUE) {
      continue;
    }
    for (by = -1; by <= 1; by++) {
      watch_compare c = compare(target, WATCH_EQUAL, "k");
      c.number = stored[target] + by;
      CHECK_INT(by == 0, holds(store, &c));
      c.result = WATCH_NOT_EQUAL;
      CHECK_INT(by != 0, holds(store, &c));
      c.result = WATCH_GREATER;
      CHECK_INT(by < 0, holds(store, &c));
      c.result = WATCH_LESS;
      CHECK_INT(by > 0, holds(store, &c));
    }
  }
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void txn_compares_values_and_ranges(void) {
  watch_store *store = open_memory();
  watch_compare c = compare(WATCH_COMPARE_VALUE, WATCH_EQUAL, "k1");
  put(store, "k1", "m");
  put(store, "k2", "m");
  c.value = B("m");
  CHECK(holds(store, &c));
  c.value = B("l");
  CHECK(!holds(store, &c));
  c.result = WATCH_GREATER;
  CHECK(holds(store, &c));
  c.result = WATCH_LESS;
  CHECK(!holds(store, &c));
  c.result = WATCH_NOT_EQUAL;
  CHECK(holds(store, &c));
  c.key = B("absent");
  CHECK(!holds(store, &c));
  /* Every key of the range must pass. */
  c = compare(WATCH_COMPARE_VALUE, WATCH_EQUAL, "k");
  c.range_end = B("l");
  c.value = B("m");
  CHECK(holds(store, &c));
  put(store, "k3", "n");
  CHECK(!holds(store, &c));
  c = compare(WATCH_COMPARE_CREATE, WATCH_EQUAL, "absent");
  CHECK(holds(store, &c));
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void txn_runs_one_list_as_one_revision(void) {
  watch_store *store = open_memory();
  watch_put_request puts[3];
  watch_range_request range;
  watch_delete_range_request gone;
  watch_op success[4], failure[1];
  watch_compare c = compare(WATCH_COMPARE_VERSION, WATCH_EQUAL, "a");
  watch_txn_request txn;
  const watch_result *result = NULL;
  put(store, "old", "x");
  success[0] = put_op(&puts[0], "a", "1");
  success[1] = put_op(&puts[1], "b", "2");
  success[2] = range_op(&range, "a");
  success[3] = delete_op(&gone, "old", WATCH_DELETE_PREV_KV);
  failure[0] = put_op(&puts[2], "f", "3");
  WATCH_INIT(&txn);
  txn.compare = &c;
  txn.compare_count = 1;
  txn.success = success;
  txn.success_count = 4;
  txn.failure = failure;
  txn.failure_count = 1;
  REQUIRE_OK(watch_store_txn(store, &txn, &result));
  CHECK_INT(WATCH_OP_TXN, result->op);
  CHECK_INT(WATCH_RESULT_SUCCEEDED, result->flags);
  CHECK_INT(3, result->revision);
  CHECK(result->kvs == NULL && result->kv_count == 0);
  REQUIRE(result->result_count == 4);
  CHECK_INT(WATCH_OP_PUT, result->results[0]->op);
  CHECK_INT(3, result->results[1]->revision);
  /* A read sees what the transaction wrote before it. */
  CHECK_INT(WATCH_OP_RANGE, result->results[2]->op);
  REQUIRE(result->results[2]->kv_count == 1);
  CHECK_BYTES("1", result->results[2]->kvs[0].value);
  CHECK_INT(3, result->results[2]->kvs[0].mod_revision);
  CHECK_INT(WATCH_OP_DELETE_RANGE, result->results[3]->op);
  CHECK_INT(1, result->results[3]->count);
  REQUIRE(result->results[3]->kv_count == 1);
  CHECK_BYTES("x", result->results[3]->kvs[0].value);
  watch_result_release(result);
  /* The second time the compare fails. */
  REQUIRE_OK(watch_store_txn(store, &txn, &result));
  CHECK_INT(0, result->flags);
  CHECK_INT(4, result->revision);
  CHECK_INT(1, result->result_count);
  watch_result_release(result);
  CHECK_INT(4, watch_store_revision(store));
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void txn_nested(void) {
  watch_store *store = open_memory();
  watch_put_request puts[2];
  watch_op inner_op, outer_ops[2];
  watch_txn_request inner, outer;
  watch_compare c = compare(WATCH_COMPARE_VERSION, WATCH_GREATER, "outer");
  const watch_result *result = NULL, *part;
  inner_op = put_op(&puts[1], "inner", "2");
  WATCH_INIT(&inner);
  inner.compare = &c; /* sees the state before the outermost transaction */
  inner.compare_count = 1;
  inner.failure = &inner_op;
  inner.failure_count = 1;
  outer_ops[0] = put_op(&puts[0], "outer", "1");
  outer_ops[1].type = WATCH_OP_TXN;
  outer_ops[1].reserved = 0;
  outer_ops[1].request.txn = &inner;
  WATCH_INIT(&outer);
  outer.success = outer_ops;
  outer.success_count = 2;
  REQUIRE_OK(watch_store_txn(store, &outer, &result));
  REQUIRE(result->result_count == 2);
  part = result->results[1];
  CHECK_INT(WATCH_OP_TXN, part->op);
  CHECK_INT(0, part->flags);
  REQUIRE(part->result_count == 1);
  CHECK_INT(WATCH_OP_PUT, part->results[0]->op);
  CHECK_INT(2, part->results[0]->revision);
  watch_result_release(result);
  CHECK_INT(2, watch_store_revision(store));
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void txn_refused_changes_nothing(void) {
  watch_store *store = open_memory();
  watch_put_request puts[2];
  watch_op ops[2];
  watch_txn_request txn;
  const watch_result *result = NULL;
  ops[0] = put_op(&puts[0], "a", "1");
  ops[1] = put_op(&puts[1], "a", "2");
  WATCH_INIT(&txn);
  txn.success = ops;
  txn.success_count = 2;
  CHECK_INT(WATCH_ERR_DUPLICATE_KEY, watch_store_txn(store, &txn, &result));
  ops[1] = put_op(&puts[1], "b", "");
  puts[1].flags = WATCH_PUT_IGNORE_VALUE;
  CHECK_INT(WATCH_ERR_KEY_NOT_FOUND, watch_store_txn(store, &txn, &result));
  CHECK(result == NULL);
  CHECK_INT(1, watch_store_revision(store));
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void txn_without_changes_makes_no_revision(void) {
  watch_store *store = open_memory();
  watch_range_request range;
  watch_op op = range_op(&range, "k");
  watch_txn_request txn;
  const watch_result *result = NULL;
  put(store, "k", "v");
  WATCH_INIT(&txn);
  REQUIRE_OK(watch_store_txn(store, &txn, &result));
  CHECK_INT(WATCH_RESULT_SUCCEEDED, result->flags);
  CHECK(result->results == NULL);
  CHECK_INT(2, result->revision);
  watch_result_release(result);
  txn.success = &op;
  txn.success_count = 1;
  REQUIRE_OK(watch_store_txn(store, &txn, &result));
  CHECK_INT(2, result->revision);
  CHECK_BYTES("v", result->results[0]->kvs[0].value);
  watch_result_release(result);
  CHECK_INT(2, watch_store_revision(store));
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

static void txn_events_come_as_one_revision(void) {
  watch_store *store = open_memory();
  watch_stream *stream = open_stream(store);
  watch_put_request puts[2];
  watch_op ops[2];
  watch_txn_request txn;
  const watch_response *response;
  watch_prefix(stream, "k", 0, 0);
  ops[0] = put_op(&puts[0], "k2", "2");
  ops[1] = put_op(&puts[1], "k1", "1");
  WATCH_INIT(&txn);
  txn.success = ops;
  txn.success_count = 2;
  REQUIRE_OK(watch_store_txn(store, &txn, NULL));
  response = next(stream);
  REQUIRE(response->event_count == 2);
  CHECK_BYTES("k2", response->events[0].kv.key);
  CHECK_BYTES("k1", response->events[1].kv.key);
  CHECK_INT(response->events[0].kv.mod_revision, response->events[1].kv.mod_revision);
  watch_stream_close(stream);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

int main(void) {
  check_start();
  RUN(txn_compares_each_number);
  RUN(txn_compares_values_and_ranges);
  RUN(txn_runs_one_list_as_one_revision);
  RUN(txn_nested);
  RUN(txn_refused_changes_nothing);
  RUN(txn_without_changes_makes_no_revision);
  RUN(txn_events_come_as_one_revision);
  return check_done();
}
