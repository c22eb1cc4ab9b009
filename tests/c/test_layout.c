/* The layout of every struct of ABI 1 on 64-bit targets: size of the whole, offset of each member. It fails
 * to compile when one moves. */
#include "support.h"

#define JOIN2(a, b) a##b
#define JOIN(a, b) JOIN2(a, b)
#define STATIC_CHECK(condition) typedef char JOIN(static_check_, __LINE__)[(condition) ? 1 : -1]
#define SIZE(type, bytes) STATIC_CHECK(sizeof(type) == (bytes))
#define AT(type, member, offset) STATIC_CHECK(offsetof(type, member) == (offset))

#if UINTPTR_MAX == UINT64_MAX
SIZE(watch_status, 4);
SIZE(watch_error_info, 40);
AT(watch_error_info, status, 8);
AT(watch_error_info, os_error, 12);
AT(watch_error_info, compact_revision, 16);
AT(watch_error_info, current_revision, 24);
AT(watch_error_info, message, 32);
SIZE(watch_bytes, 16);
AT(watch_bytes, len, 8);
SIZE(watch_kv, 64);
AT(watch_kv, value, 16);
AT(watch_kv, create_revision, 32);
AT(watch_kv, mod_revision, 40);
AT(watch_kv, version, 48);
AT(watch_kv, lease, 56);
SIZE(watch_event, 80);
AT(watch_event, prev_kv, 64);
AT(watch_event, type, 72);
AT(watch_event, reserved, 76);
SIZE(watch_store_options, 64);
AT(watch_store_options, flags, 8);
AT(watch_store_options, durability, 12);
AT(watch_store_options, segment_bytes, 16);
AT(watch_store_options, fragment_bytes, 24);
AT(watch_store_options, sync_interval_ms, 32);
AT(watch_store_options, progress_interval_ms, 36);
AT(watch_store_options, txn_ops_max, 40);
AT(watch_store_options, dispatch_threads, 44);
AT(watch_store_options, auto_compaction_revisions, 48);
AT(watch_store_options, auto_compaction_period_ms, 56);
SIZE(watch_put_request, 56);
AT(watch_put_request, key, 8);
AT(watch_put_request, value, 24);
AT(watch_put_request, lease, 40);
AT(watch_put_request, flags, 48);
SIZE(watch_range_request, 104);
AT(watch_range_request, key, 8);
AT(watch_range_request, range_end, 24);
AT(watch_range_request, revision, 40);
AT(watch_range_request, limit, 48);
AT(watch_range_request, min_mod_revision, 56);
AT(watch_range_request, max_mod_revision, 64);
AT(watch_range_request, min_create_revision, 72);
AT(watch_range_request, max_create_revision, 80);
AT(watch_range_request, sort_target, 88);
AT(watch_range_request, sort_order, 92);
AT(watch_range_request, flags, 96);
SIZE(watch_delete_range_request, 48);
AT(watch_delete_range_request, range_end, 24);
AT(watch_delete_range_request, flags, 40);
SIZE(watch_compare, 72);
AT(watch_compare, target, 0);
AT(watch_compare, result, 4);
AT(watch_compare, key, 8);
AT(watch_compare, range_end, 24);
AT(watch_compare, value, 40);
AT(watch_compare, number, 56);
AT(watch_compare, reserved, 64);
SIZE(watch_op, 16);
AT(watch_op, type, 0);
AT(watch_op, reserved, 4);
AT(watch_op, request, 8);
SIZE(watch_txn_request, 56);
AT(watch_txn_request, compare, 8);
AT(watch_txn_request, compare_count, 16);
AT(watch_txn_request, success, 24);
AT(watch_txn_request, success_count, 32);
AT(watch_txn_request, failure, 40);
AT(watch_txn_request, failure_count, 48);
SIZE(watch_result, 64);
AT(watch_result, op, 8);
AT(watch_result, flags, 12);
AT(watch_result, revision, 16);
AT(watch_result, count, 24);
AT(watch_result, kvs, 32);
AT(watch_result, kv_count, 40);
AT(watch_result, results, 48);
AT(watch_result, result_count, 56);
SIZE(watch_response, 80);
AT(watch_response, watch_id, 8);
AT(watch_response, revision, 16);
AT(watch_response, resume_revision, 24);
AT(watch_response, compact_revision, 32);
AT(watch_response, flags, 40);
AT(watch_response, cancel_status, 44);
AT(watch_response, cancel_reason, 48);
AT(watch_response, events, 56);
AT(watch_response, event_count, 64);
AT(watch_response, watch_data, 72);
SIZE(watch_stream_options, 48);
AT(watch_stream_options, batch_revisions, 8);
AT(watch_stream_options, flags, 12);
AT(watch_stream_options, batch_bytes, 16);
AT(watch_stream_options, on_response, 24);
AT(watch_stream_options, user_data, 32);
AT(watch_stream_options, destroy, 40);
SIZE(watch_create_request, 72);
AT(watch_create_request, key, 8);
AT(watch_create_request, range_end, 24);
AT(watch_create_request, start_revision, 40);
AT(watch_create_request, watch_id, 48);
AT(watch_create_request, flags, 56);
AT(watch_create_request, filters, 60);
AT(watch_create_request, watch_data, 64);
SIZE(watch_store_stats, 152);
AT(watch_store_stats, revision, 8);
AT(watch_store_stats, compact_revision, 16);
AT(watch_store_stats, durable_revision, 24);
AT(watch_store_stats, oldest_watch_revision, 32);
AT(watch_store_stats, key_count, 40);
AT(watch_store_stats, log_bytes, 48);
AT(watch_store_stats, pinned_bytes, 56);
AT(watch_store_stats, stream_count, 64);
AT(watch_store_stats, watch_count, 72);
AT(watch_store_stats, watch_synced_count, 80);
AT(watch_store_stats, watch_unsynced_count, 88);
AT(watch_store_stats, watch_victim_count, 96);
AT(watch_store_stats, put_total, 104);
AT(watch_store_stats, delete_total, 112);
AT(watch_store_stats, txn_total, 120);
AT(watch_store_stats, sync_total, 128);
AT(watch_store_stats, event_delivered_total, 136);
AT(watch_store_stats, record_read_total, 144);
#endif

/* The library writes the size of its own views; it must be this header's. */
static void layout_views_have_the_headers_size(void) {
  watch_store *store = open_memory();
  watch_stream *stream = open_stream(store);
  const watch_result *result = NULL;
  watch_prefix(stream, "k", 0, WATCH_CREATE_CREATED_NOTIFY);
  CHECK_INT(sizeof(watch_response), next(stream)->size);
  CHECK_INT(WATCH_OK, watch_store_get(store, B("k"), 0, &result));
  CHECK_INT(sizeof(watch_result), result->size);
  watch_result_release(result);
  watch_stream_close(stream);
  CHECK_INT(WATCH_OK, watch_store_close(store));
}

int main(void) {
  check_start();
  RUN(layout_views_have_the_headers_size);
  return check_done();
}
