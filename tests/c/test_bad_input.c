/* What callers get wrong is answered with a status and a line that names the thing, and disturbs nothing
 * else. The same cases, by the same names and in the same order, are in tests/bad_input.rs, tests/cpp and
 * tests/python. The list goes on in test_bad_state.c; what only C can get wrong is in test_bad_pointers.c. */
#include "scene.h"

static const int64_t negative[] = {-1, INT64_MIN};
static const int64_t future[] = {CURRENT + 1, INT64_MAX};

/* ---- keys and ranges ---- */

/* etcd 14.1, 14.11 */
static void an_empty_key_is_refused(void) {
  watch_put_request put_empty = put_of("", "v", 0);
  watch_range_request range = range_of("", "z"), single = range_of("", "");
  watch_delete_range_request gone = delete_of("", "z");
  watch_op inside = op_range(&single);
  watch_txn_request nested = txn_of(&inside, 1), compares = txn_of(NULL, 0);
  watch_compare compare;
  memset(&compare, 0, sizeof compare);
  compares.compare = &compare;
  compares.compare_count = 1;
  REFUSED(WATCH_ERR_EMPTY_KEY, "key", watch_store_put(store, NO_BYTES, B("v"), NULL));
  REFUSED(WATCH_ERR_EMPTY_KEY, "key", watch_store_put_with(store, &put_empty, NULL));
  REFUSED(WATCH_ERR_EMPTY_KEY, "key", watch_store_get(store, NO_BYTES, 0, NULL));
  REFUSED(WATCH_ERR_EMPTY_KEY, "key", watch_store_range(store, &range, NULL));
  REFUSED(WATCH_ERR_EMPTY_KEY, "key", watch_store_delete(store, NO_BYTES, ALL_END, NULL, NULL));
  REFUSED(WATCH_ERR_EMPTY_KEY, "key", watch_store_delete_with(store, &gone, NULL));
  REFUSED(WATCH_ERR_EMPTY_KEY, "key", run_after_put(op_put(&put_empty)));
  REFUSED(WATCH_ERR_EMPTY_KEY, "key", run_after_put(op_delete(&gone)));
  REFUSED(WATCH_ERR_EMPTY_KEY, "key", run_after_put(op_txn(&nested)));
  REFUSED(WATCH_ERR_EMPTY_KEY, "key", watch_store_txn(store, &compares, NULL));
}

/* etcd 2.4, 3.10 */
static void an_empty_watch_range_is_refused(void) {
  const watch_bytes ranges[][2] = {{B("b"), B("a")},
                                   {B("b"), B("b")},
                                   {watch_bytes_of("b\0", 2), B("b")},
                                   {watch_bytes_of("\0\0", 2), watch_bytes_of("\0\0", 2)}};
  size_t i;
  for (i = 0; i < 4; i++) {
    watch_create_request create = create_of(ranges[i][0], ranges[i][1], 0, 0);
    REFUSED(WATCH_ERR_EMPTY_RANGE, "range_end", watch_stream_create(stream, &create, NULL));
  }
}

/* etcd 2.4, 14.1, 1.3 */
static void a_reversed_range_reads_and_deletes_nothing(void) {
  const char *ends[] = {"a", "b"};
  int i;
  for (i = 0; i < 2; i++) {
    watch_range_request range = range_of("b", ends[i]);
    watch_delete_range_request gone = delete_of("b", ends[i]);
    watch_op op = op_delete(&gone);
    const watch_result *result = NULL;
    int64_t deleted = 9, revision = 0;
    UNCHANGED(watch_store_range(store, &range, &result));
    CHECK_INT(0, result->count);
    watch_result_release(result);
    UNCHANGED(watch_store_delete(store, B("b"), B(ends[i]), &deleted, &revision));
    CHECK(deleted == 0 && revision == CURRENT);
    UNCHANGED(run(&op, 1));
  }
}

/* ---- revisions ---- */

/* etcd 14.2 */
static void a_negative_revision_reads_now_but_not_in_a_transaction(void) {
  int i;
  for (i = 0; i < 2; i++) {
    watch_range_request range = range_of("a", "");
    const watch_result *result = NULL;
    UNCHANGED(watch_store_get(store, B("a"), negative[i], &result));
    REQUIRE(result != NULL && result->kv_count == 1);
    CHECK_BYTES("3", result->kvs[0].value);
    CHECK_INT(CURRENT, result->revision);
    watch_result_release(result);
    range.revision = negative[i];
    REFUSED(WATCH_ERR_COMPACTED, shown(negative[i]), run_after_put(op_range(&range)));
  }
}

static void refused_reads(watch_status status, int64_t revision) {
  watch_range_request range = range_of("x", "a"), single = range_of("a", "");
  range.revision = single.revision = revision;
  REFUSED(status, shown(revision), watch_store_get(store, B("a"), revision, NULL));
  REFUSED(status, shown(revision), watch_store_range(store, &range, NULL));
  REFUSED(status, shown(revision), run_after_put(op_range(&single)));
}

/* etcd 14.2, 14.11 */
static void a_future_revision_cannot_be_read(void) {
  int i;
  for (i = 0; i < 2; i++) {
    refused_reads(WATCH_ERR_FUTURE_REVISION, future[i]);
    CHECK_INT(CURRENT, last_info().current_revision);
    CHECK_INT(0, last_info().compact_revision);
  }
}

/* etcd 14.2, 10.2, 10.4 */
static void a_compacted_revision_cannot_be_read(void) {
  const int64_t below[] = {1, COMPACTED - 1};
  int i;
  for (i = 0; i < 2; i++) {
    refused_reads(WATCH_ERR_COMPACTED, below[i]);
    CHECK_INT(COMPACTED, last_info().compact_revision);
    CHECK_INT(0, last_info().current_revision);
  }
  UNCHANGED(watch_store_get(store, B("a"), COMPACTED, NULL));
}

/* etcd 3.4, 3.10 */
static void a_negative_start_is_refused(void) {
  int i;
  for (i = 0; i < 2; i++) {
    watch_create_request create = create_of(ALL_KEY, ALL_END, negative[i], 0);
    REFUSED(WATCH_ERR_INVALID_ARGUMENT, "start_revision", watch_stream_create(stream, &create, NULL));
    REFUSED(WATCH_ERR_INVALID_ARGUMENT, shown(negative[i]), watch_stream_create(stream, &create, NULL));
  }
}

/* etcd 3.2, 19.2 #9775: a start may lie as far ahead as numbers go */
static void a_start_in_the_far_future_waits(void) {
  const int64_t starts[] = {CURRENT + 2, INT64_MAX - 1, INT64_MAX};
  int i;
  for (i = 0; i < 3; i++) {
    watch_create_request create = create_of(ALL_KEY, ALL_END, starts[i], 0);
    int64_t id = 0;
    create.flags = 0;
    CHECK_INT(WATCH_OK, watch_stream_create(stream, &create, &id));
    check_told(stream, 0, "");
    CHECK_INT(WATCH_OK, watch_stream_cancel(stream, id));
    CHECK_INT(starts[i], next(stream)->resume_revision);
    check_told(stream, 0, "");
  }
}

/* ---- watch ids ---- */

/* etcd 3.4, 3.10 */
static void a_negative_watch_id_is_refused(void) {
  int i;
  for (i = 0; i < 2; i++) {
    watch_create_request create = create_of(ALL_KEY, ALL_END, 0, negative[i]);
    REFUSED(WATCH_ERR_INVALID_ARGUMENT, "watch_id", watch_stream_create(stream, &create, NULL));
    REFUSED(WATCH_ERR_INVALID_ARGUMENT, shown(negative[i]), watch_stream_create(stream, &create, NULL));
  }
}

/* etcd 3.9, 3.10, 19.3 #14296 */
static void a_watch_id_in_use_is_refused(void) {
  watch_create_request create = create_of(B("q"), NO_BYTES, 1, LIVE);
  int64_t id = -5;
  REFUSED(WATCH_ERR_DUPLICATE_WATCH_ID, "watch id 7", watch_stream_create(stream, &create, &id));
  CHECK_INT(-5, id);
}

/* etcd 9.1 */
static void a_watch_id_that_is_not_live_cannot_be_canceled(void) {
  int64_t ids[] = {0, LIVE + 1, 0, -1, INT64_MIN, INT64_MAX};
  size_t i;
  ids[0] = watch_prefix(stream, "q", 0, 0);
  CHECK_INT(WATCH_OK, watch_stream_cancel(stream, ids[0]));
  check_told(stream, 1, "");
  for (i = 0; i < sizeof ids / sizeof *ids; i++) {
    REFUSED(WATCH_ERR_WATCH_NOT_FOUND, shown(ids[i]), watch_stream_cancel(stream, ids[i]));
  }
}

/* ---- compaction and sync ---- */

/* etcd 10.1 */
static void compaction_of_the_past_is_refused(void) {
  const int64_t past[] = {COMPACTED, COMPACTED - 1, 0, -1, INT64_MIN};
  size_t i;
  for (i = 0; i < sizeof past / sizeof *past; i++) {
    REFUSED(WATCH_ERR_COMPACTED, shown(past[i]), watch_store_compact(store, past[i], WATCH_COMPACT_PHYSICAL));
    CHECK_INT(COMPACTED, last_info().compact_revision);
  }
}

/* etcd 10.1, 10.5 */
static void compaction_of_the_present_is_accepted_once(void) {
  CHECK_INT(WATCH_OK, watch_store_compact(store, CURRENT, 0));
  CHECK_INT(CURRENT, watch_store_compact_revision(store));
  CHECK_INT(CURRENT, watch_store_revision(store));
  CHECK_TEXT("a=3@2/4/2/9 b=2@3/3/1/0 c=@7/7/1/0 ", look().pairs);
  REFUSED(WATCH_ERR_COMPACTED, "7", watch_store_compact(store, CURRENT, 0));
}

/* etcd 10.1 */
static void compaction_of_the_future_is_refused(void) {
  int i;
  for (i = 0; i < 2; i++) {
    REFUSED(WATCH_ERR_FUTURE_REVISION, shown(future[i]), watch_store_compact(store, future[i], 0));
    CHECK_INT(CURRENT, last_info().current_revision);
  }
}

/* etcd 8.1: what was not written cannot be waited for */
static void a_revision_that_was_never_written_cannot_be_synced(void) {
  int i;
  for (i = 0; i < 2; i++) {
    REFUSED(WATCH_ERR_INVALID_ARGUMENT, shown(negative[i]), watch_store_sync(store, negative[i]));
    REFUSED(WATCH_ERR_FUTURE_REVISION, shown(future[i]), watch_store_sync(store, future[i]));
  }
  UNCHANGED(watch_store_sync(store, 0));
}

static size_t found(const watch_range_request *request) {
  const watch_result *result = NULL;
  size_t count;
  UNCHANGED(watch_store_range(store, request, &result));
  CHECK(result->count == 3 && result->flags == 0);
  count = result->kv_count;
  watch_result_release(result);
  return count;
}

/* etcd 14.4, 14.5 */
static void limits_and_bounds_of_a_range_may_be_any_number(void) {
  const watch_range_request all = range_of("a", "z");
  watch_range_request r;
  int i;
  for (i = 0; i < 2; i++) {
    r = all, r.limit = negative[i];
    CHECK_INT(3, found(&r)); /* no limit */
    r = all, r.min_mod_revision = r.min_create_revision = negative[i];
    CHECK_INT(3, found(&r));
    r = all, r.max_mod_revision = negative[i];
    CHECK_INT(0, found(&r));
    r = all, r.max_create_revision = negative[i];
    CHECK_INT(0, found(&r));
  }
  r = all, r.limit = r.max_mod_revision = r.max_create_revision = INT64_MAX;
  CHECK_INT(3, found(&r));
  r = all, r.min_mod_revision = INT64_MAX;
  CHECK_INT(0, found(&r));
  r = all, r.min_create_revision = INT64_MAX;
  CHECK_INT(0, found(&r));
}

/* ---- transactions and puts ---- */

/* etcd 14.12, 14.11 */
static void a_key_that_is_put_twice_is_refused(void) {
  watch_put_request first = put_of("x\n", "1", 0), second = put_of("x\n", "2", 0);
  watch_op ops[2], inside = op_put(&second);
  watch_txn_request nested = txn_of(&inside, 1);
  ops[0] = op_put(&first);
  ops[1] = op_put(&second);
  REFUSED(WATCH_ERR_DUPLICATE_KEY, "\"x\\n\"", run(ops, 2));
  ops[1] = op_txn(&nested);
  REFUSED(WATCH_ERR_DUPLICATE_KEY, "\"x\\n\"", run(ops, 2));
}

/* etcd 14.12, 14.11 */
static void a_put_under_a_delete_is_refused(void) {
  const watch_bytes ranges[][2] = {
      {B("b"), NO_BYTES}, {B("a"), B("c")}, {B("a"), ALL_END}, {ALL_KEY, ALL_END}};
  watch_put_request put_b = put_of("b", "1", 0);
  size_t i;
  for (i = 0; i < 4; i++) {
    watch_delete_range_request gone = delete_of("", "");
    watch_op ops[2], inside = op_put(&put_b);
    watch_txn_request nested = txn_of(&inside, 1);
    gone.key = ranges[i][0];
    gone.range_end = ranges[i][1];
    ops[0] = op_put(&put_b);
    ops[1] = op_delete(&gone);
    REFUSED(WATCH_ERR_DUPLICATE_KEY, "\"b\"", run(ops, 2));
    ops[0] = op_txn(&nested);
    REFUSED(WATCH_ERR_DUPLICATE_KEY, "\"b\"", run(ops, 2));
  }
}

/* etcd 14.12, 1.11 */
static void overlapping_deletes_are_accepted(void) {
  watch_delete_range_request first = delete_of("a", "c"), all = delete_of("b", ""), one = delete_of("a", "");
  watch_op ops[3];
  all.range_end = ALL_END;
  ops[0] = op_delete(&first);
  ops[1] = op_delete(&all);
  ops[2] = op_delete(&one);
  CHECK_INT(WATCH_OK, run(ops, 3));
  CHECK_INT(CURRENT + 1, watch_store_revision(store));
  CHECK_INT(4, look().counts[4]);
  CHECK_TEXT("", look().pairs);
  check_told(stream, 1, "8-a 8-b 8-c ");
  check_told(witness, 1, "8-a 8-b 8-c ");
}

/* etcd 14.7, 14.11 */
static void values_and_leases_are_not_given_beside_what_ignores_them(void) {
  watch_put_request value = put_of("a", "2", WATCH_PUT_IGNORE_VALUE);
  watch_put_request lease = put_of("a", "2", WATCH_PUT_IGNORE_LEASE);
  lease.lease = 2;
  REFUSED(WATCH_ERR_INVALID_ARGUMENT, "ignore_value", watch_store_put_with(store, &value, NULL));
  REFUSED(WATCH_ERR_INVALID_ARGUMENT, "ignore_lease", watch_store_put_with(store, &lease, NULL));
  REFUSED(WATCH_ERR_INVALID_ARGUMENT, "ignore_value", run_after_put(op_put(&value)));
}

/* etcd 14.7, 14.11 */
static void an_absent_key_has_nothing_to_keep(void) {
  watch_put_request value = put_of("who\n", "", WATCH_PUT_IGNORE_VALUE);
  watch_put_request lease = put_of("gone", "", WATCH_PUT_IGNORE_LEASE), plain = put_of("who\n", "", 0);
  watch_op ops[2];
  ops[0] = op_put(&plain);
  ops[1] = op_put(&value);
  REFUSED(WATCH_ERR_KEY_NOT_FOUND, "\"who\\n\"", watch_store_put_with(store, &value, NULL));
  REFUSED(WATCH_ERR_KEY_NOT_FOUND, "\"gone\"", watch_store_put_with(store, &lease, NULL));
  REFUSED(WATCH_ERR_DUPLICATE_KEY, "\"who\\n\"", run(ops, 2));
  REFUSED(WATCH_ERR_KEY_NOT_FOUND, "\"gone\"", run_after_put(op_put(&lease)));
}

/* etcd 14.12 */
static void a_long_key_in_an_error_is_cut(void) {
  static uint8_t key[60000];
  watch_put_request long_put = put_of("", "", 0);
  watch_op ops[2];
  memset(key, 0xff, sizeof key);
  long_put.key = watch_bytes_of(key, sizeof key);
  ops[0] = ops[1] = op_put(&long_put);
  REFUSED(WATCH_ERR_DUPLICATE_KEY, "\\xff", run(ops, 2));
  CHECK(strlen(watch_last_error()) < 500);
  long_put.flags = WATCH_PUT_IGNORE_VALUE;
  REFUSED(WATCH_ERR_KEY_NOT_FOUND, "\\xff", watch_store_put_with(store, &long_put, NULL));
  CHECK(strlen(watch_last_error()) < 500);
}

int main(void) {
  check_start();
  SCENE(an_empty_key_is_refused);
  SCENE(an_empty_watch_range_is_refused);
  SCENE(a_reversed_range_reads_and_deletes_nothing);
  SCENE(a_negative_revision_reads_now_but_not_in_a_transaction);
  SCENE(a_future_revision_cannot_be_read);
  SCENE(a_compacted_revision_cannot_be_read);
  SCENE(a_negative_start_is_refused);
  SCENE(a_start_in_the_far_future_waits);
  SCENE(a_negative_watch_id_is_refused);
  SCENE(a_watch_id_in_use_is_refused);
  SCENE(a_watch_id_that_is_not_live_cannot_be_canceled);
  SCENE(compaction_of_the_past_is_refused);
  SCENE(compaction_of_the_present_is_accepted_once);
  SCENE(compaction_of_the_future_is_refused);
  SCENE(a_revision_that_was_never_written_cannot_be_synced);
  SCENE(limits_and_bounds_of_a_range_may_be_any_number);
  SCENE(a_key_that_is_put_twice_is_refused);
  SCENE(a_put_under_a_delete_is_refused);
  SCENE(overlapping_deletes_are_accepted);
  SCENE(values_and_leases_are_not_given_beside_what_ignores_them);
  SCENE(an_absent_key_has_nothing_to_keep);
  SCENE(a_long_key_in_an_error_is_cut);
  return check_done();
}
