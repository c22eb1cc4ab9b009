/* The header alone, as C and as C++: macros and inline helpers used once. Compiled, never run. */
#include "watch.h"

int header_only(void);

int header_only(void) {
  watch_put_request request;
  watch_txn_request txn;
  watch_op op;
  WATCH_INIT(&request);
  WATCH_INIT(&txn);
  request.key = watch_bytes_str("key");
  request.value = watch_bytes_of("value", 5);
  request.flags = WATCH_PUT_PREV_KV | WATCH_PUT_IGNORE_LEASE;
  op.type = WATCH_OP_PUT;
  op.reserved = 0;
  op.request.put = &request;
  txn.success = &op;
  txn.success_count = 1;
  return watch_check_version() == WATCH_OK && WATCH_HAS(watch_put_request, &request, flags) ? 0 : 1;
}
