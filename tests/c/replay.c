/* Runs the plain text program of a recorded trace (tests/trace/steps.py says the format) on a store and
 * prints the transcript: every answer, and after each step everything that was delivered meanwhile.
 *
 *   replay [FOLDER] <PROGRAM     in memory, or in files with the smallest segments
 */
#include "support.h"

#include <stdarg.h>

enum { STREAMS = 2, SEGMENT_MIN = 64 * 1024 };

/* A text that grows. */
typedef struct text {
  char *data;
  size_t len, room;
} text;

typedef struct watcher {
  int stream;
  int64_t id;
  text told; /* since the last step */
} watcher;

typedef struct replay {
  watch_store *store;
  watch_stream *streams[STREAMS];
  watcher *watchers;
  int64_t watcher_count;
  long step;
} replay;

/* One line of the program: the words left, and room for the bytes that they become. */
typedef struct line {
  char *rest;
  uint8_t *room;
} line;

typedef union request {
  watch_put_request put;
  watch_range_request range;
  watch_delete_range_request gone;
} request;

static const char *const sort_targets[] = {
    [WATCH_SORT_KEY] = "KEY", [WATCH_SORT_CREATE] = "CREATE", [WATCH_SORT_MOD] = "MOD"};
static const char *const sort_orders[] = {
    [WATCH_ORDER_NONE] = "NONE", [WATCH_ORDER_ASCEND] = "ASCEND", [WATCH_ORDER_DESCEND] = "DESCEND"};
static const char *const compare_targets[] = {[WATCH_COMPARE_VERSION] = "VERSION",
                                              [WATCH_COMPARE_CREATE] = "CREATE",
                                              [WATCH_COMPARE_MOD] = "MOD",
                                              [WATCH_COMPARE_VALUE] = "VALUE"};
static const char *const compare_results[] = {[WATCH_EQUAL] = "EQUAL",
                                              [WATCH_GREATER] = "GREATER",
                                              [WATCH_LESS] = "LESS",
                                              [WATCH_NOT_EQUAL] = "NOT_EQUAL"};

#define NUMBER_OF(names, word) number_of(names, sizeof names / sizeof *names, word)

static uint32_t number_of(const char *const *names, size_t count, const char *word) {
  size_t i = 0;
  while (i < count && (names[i] == NULL || strcmp(names[i], word) != 0)) {
    i++;
  }
  REQUIRE(i < count);
  return (uint32_t)i;
}

static void add(text *t, const char *format, ...) {
  va_list arguments;
  int len;
  for (;;) {
    va_start(arguments, format);
    len = vsnprintf(t->data == NULL ? NULL : t->data + t->len, t->room - t->len, format, arguments);
    va_end(arguments);
    REQUIRE(len >= 0);
    if ((size_t)len < t->room - t->len) {
      t->len += (size_t)len;
      return;
    }
    t->room = 2 * t->room + (size_t)len + 1;
    REQUIRE((t->data = realloc(t->data, t->room)) != NULL);
  }
}

static void add_bytes(text *t, watch_bytes bytes) {
  size_t i;
  for (i = 0; i < bytes.len; i++) {
    add(t, "%02x", bytes.data[i]);
  }
  add(t, bytes.len == 0 ? "- " : " ");
}

static void add_kv(text *t, const watch_kv *kv) {
  add_bytes(t, kv->key);
  add_bytes(t, kv->value);
  add(t, "%" PRId64 " %" PRId64 " ", kv->create_revision, kv->mod_revision);
  add(t, "%" PRId64 " %" PRId64 "\n", kv->version, kv->lease);
}

static char *word(line *l) {
  char *begin = l->rest;
  REQUIRE(begin != NULL);
  l->rest = strchr(begin, ' ');
  if (l->rest != NULL) {
    *l->rest++ = '\0';
  }
  return begin;
}

static int64_t number(line *l) {
  char *begin = word(l), *end;
  long long value = strtoll(begin, &end, 10);
  REQUIRE(end != begin && *end == '\0');
  return value;
}

static uint32_t flag(line *l, uint32_t bit) {
  return number(l) != 0 ? bit : 0;
}

static watch_bytes bytes(line *l) {
  const char *digits = word(l);
  watch_bytes found = watch_bytes_of(l->room, 0);
  unsigned byte;
  if (strcmp(digits, "-") == 0) {
    return found;
  }
  for (; *digits != '\0'; digits += 2) {
    REQUIRE(sscanf(digits, "%2x", &byte) == 1 && digits[1] != '\0');
    *l->room++ = (uint8_t)byte;
    found.len++;
  }
  return found;
}

static void read_op(line *l, watch_op *op, request *r) {
  const char *name = word(l);
  memset(op, 0, sizeof *op);
  if (strcmp(name, "put") == 0) {
    op->type = WATCH_OP_PUT;
    op->request.put = &r->put;
    WATCH_INIT(&r->put);
    r->put.key = bytes(l);
    r->put.value = bytes(l);
    r->put.flags = flag(l, WATCH_PUT_PREV_KV);
  } else if (strcmp(name, "delete_range") == 0) {
    op->type = WATCH_OP_DELETE_RANGE;
    op->request.delete_range = &r->gone;
    WATCH_INIT(&r->gone);
    r->gone.key = bytes(l);
    r->gone.range_end = bytes(l);
    r->gone.flags = flag(l, WATCH_DELETE_PREV_KV);
  } else {
    REQUIRE(strcmp(name, "range") == 0);
    op->type = WATCH_OP_RANGE;
    op->request.range = &r->range;
    WATCH_INIT(&r->range);
    r->range.key = bytes(l);
    r->range.range_end = bytes(l);
    r->range.revision = number(l);
    r->range.limit = number(l);
    r->range.min_mod_revision = number(l);
    r->range.max_create_revision = number(l);
    r->range.sort_target = NUMBER_OF(sort_targets, word(l));
    r->range.sort_order = NUMBER_OF(sort_orders, word(l));
    r->range.flags = flag(l, WATCH_RANGE_KEYS_ONLY);
    r->range.flags |= flag(l, WATCH_RANGE_COUNT_ONLY);
  }
}

static watch_compare *read_compares(line *l, size_t *count) {
  watch_compare *compares, *c;
  *count = (size_t)number(l);
  REQUIRE((compares = calloc(*count + 1, sizeof *compares)) != NULL);
  for (c = compares; c < compares + *count; c++) {
    c->key = bytes(l);
    c->target = NUMBER_OF(compare_targets, word(l));
    c->result = NUMBER_OF(compare_results, word(l));
    if (c->target == WATCH_COMPARE_VALUE) {
      c->value = bytes(l);
    } else {
      c->number = number(l);
    }
  }
  return compares;
}

/* The operations, and behind the last of them their requests. */
static watch_op *read_ops(line *l, size_t *count) {
  watch_op *ops;
  request *requests;
  size_t i;
  *count = (size_t)number(l);
  REQUIRE((ops = calloc(*count + 1, sizeof *ops + sizeof *requests)) != NULL);
  requests = (request *)(void *)(ops + *count);
  for (i = 0; i < *count; i++) {
    read_op(l, &ops[i], &requests[i]);
  }
  return ops;
}

static watch_status run_txn(replay *r, line *l, const watch_result **result) {
  watch_txn_request txn;
  watch_compare *compares;
  watch_op *success, *failure;
  watch_status status;
  WATCH_INIT(&txn);
  txn.compare = compares = read_compares(l, &txn.compare_count);
  txn.success = success = read_ops(l, &txn.success_count);
  txn.failure = failure = read_ops(l, &txn.failure_count);
  status = watch_store_txn(r->store, &txn, result);
  free(compares);
  free(success);
  free(failure);
  return status;
}

static watch_status run_op(replay *r, line *l, const watch_result **result) {
  watch_op op;
  request storage;
  read_op(l, &op, &storage);
  switch (op.type) {
  case WATCH_OP_PUT:
    return watch_store_put_with(r->store, op.request.put, result);
  case WATCH_OP_RANGE:
    return watch_store_range(r->store, op.request.range, result);
  default:
    return watch_store_delete_with(r->store, op.request.delete_range, result);
  }
}

static void print_pairs(const replay *r, const watch_result *result) {
  size_t i;
  for (i = 0; i < result->kv_count; i++) {
    text t = {NULL, 0, 0};
    add_kv(&t, &result->kvs[i]);
    printf("%ld %s %s", r->step, result->op == WATCH_OP_RANGE ? "kv" : "prev", t.data);
    free(t.data);
  }
}

/* What an operation answered beside its revision. */
static void print_outcome(const watch_result *result) {
  if (result->op == WATCH_OP_DELETE_RANGE) {
    printf(" %" PRId64, result->count);
  } else if (result->op == WATCH_OP_RANGE) {
    printf(" %" PRId64 " %d", result->count, (result->flags & WATCH_RESULT_MORE) != 0);
  } else if (result->op == WATCH_OP_TXN) {
    printf(" %d", (result->flags & WATCH_RESULT_SUCCEEDED) != 0);
  }
  printf("\n");
}

static void print_result(const replay *r, const watch_result *result) {
  static const char *const names[] = {[WATCH_OP_PUT] = "put",
                                      [WATCH_OP_RANGE] = "range",
                                      [WATCH_OP_DELETE_RANGE] = "delete_range",
                                      [WATCH_OP_TXN] = "txn"};
  size_t i;
  printf("%ld %s %" PRId64, r->step, names[result->op], result->revision);
  print_outcome(result);
  print_pairs(r, result);
  for (i = 0; i < result->result_count; i++) {
    printf("%ld then %s", r->step, names[result->results[i]->op]);
    print_outcome(result->results[i]);
    print_pairs(r, result->results[i]);
  }
}

/* The watcher that has an id now, or had it last. */
static watcher *watcher_of(replay *r, int stream, int64_t id) {
  int64_t i = r->watcher_count - 1;
  while (i >= 0 && (r->watchers[i].stream != stream || r->watchers[i].id != id)) {
    i--;
  }
  REQUIRE(i >= 0);
  return &r->watchers[i];
}

static int64_t read_id(const replay *r, line *l) {
  if (*l->rest == '@') {
    int64_t watcher_number;
    l->rest++;
    watcher_number = number(l);
    REQUIRE(watcher_number >= 0 && watcher_number < r->watcher_count);
    return r->watchers[watcher_number].id;
  }
  if (strncmp(l->rest, "auto", 4) == 0) {
    (void)word(l);
    return WATCH_ID_AUTO;
  }
  return number(l);
}

static watch_status run_watch(replay *r, line *l) {
  watch_create_request create;
  int64_t watcher_number = number(l), stream = number(l), id = 0;
  watch_status status;
  REQUIRE(watcher_number < r->watcher_count && stream >= 0 && stream < STREAMS);
  WATCH_INIT(&create);
  create.watch_id = read_id(r, l);
  create.key = bytes(l);
  create.range_end = bytes(l);
  create.start_revision = number(l);
  create.filters = flag(l, WATCH_FILTER_NOPUT);
  create.filters |= flag(l, WATCH_FILTER_NODELETE);
  create.flags = flag(l, WATCH_CREATE_PREV_KV);
  status = watch_stream_create(r->streams[stream], &create, &id);
  if (status == WATCH_OK) {
    printf("%ld watch %" PRId64 "\n", r->step, watcher_number);
    REQUIRE(watcher_number >= 0);
    r->watchers[watcher_number].stream = (int)stream;
    r->watchers[watcher_number].id = id;
  }
  return status;
}

static watch_status run_cancel(replay *r, line *l) {
  int64_t stream = number(l);
  watch_status status;
  REQUIRE(stream >= 0 && stream < STREAMS);
  status = watch_stream_cancel(r->streams[stream], read_id(r, l));
  if (status == WATCH_OK) {
    printf("%ld canceled\n", r->step);
  }
  return status;
}

static void run_step(replay *r, line *l) {
  const watch_result *result = NULL;
  watch_status status;
  if (strncmp(l->rest, "watch ", 6) == 0) {
    (void)word(l);
    status = run_watch(r, l);
  } else if (strncmp(l->rest, "cancel ", 7) == 0) {
    (void)word(l);
    status = run_cancel(r, l);
  } else if (strncmp(l->rest, "compact ", 8) == 0) {
    (void)word(l);
    status = watch_store_compact(r->store, number(l), 0);
    if (status == WATCH_OK) {
      printf("%ld compact %" PRId64 "\n", r->step, watch_store_revision(r->store));
    }
  } else if (strncmp(l->rest, "txn ", 4) == 0) {
    (void)word(l);
    status = run_txn(r, l, &result);
  } else {
    status = run_op(r, l, &result);
  }
  REQUIRE(l->rest == NULL);
  if (status != WATCH_OK) {
    printf("%ld %s\n", r->step, watch_status_name(status));
  } else if (result != NULL) {
    print_result(r, result);
    watch_result_release(result);
  }
}

static void take_response(replay *r, int stream, const watch_response *response) {
  watcher *w = watcher_of(r, stream, response->watch_id);
  long number_of_watcher = (long)(w - r->watchers);
  size_t i;
  for (i = 0; i < response->event_count; i++) {
    const watch_event *event = &response->events[i];
    const char *kind = event->type == WATCH_EVENT_PUT ? "put" : "delete";
    add(&w->told, "%ld to %ld %s ", r->step, number_of_watcher, kind);
    add_kv(&w->told, &event->kv);
    if (event->prev_kv != NULL) {
      add(&w->told, "%ld to %ld prev ", r->step, number_of_watcher);
      add_kv(&w->told, event->prev_kv);
    }
  }
  /* The response to a cancel is no part of the recording. */
  if ((response->flags & WATCH_RESPONSE_CANCELED) != 0 && response->cancel_status != WATCH_OK) {
    REQUIRE(response->cancel_status == WATCH_ERR_COMPACTED);
    add(&w->told, "%ld to %ld canceled ", r->step, number_of_watcher);
    add(&w->told, "%" PRId64 "\n", response->compact_revision);
  }
}

/* Everything up to now, behind a request for progress as a barrier. */
static void print_deliveries(replay *r) {
  const watch_response *response;
  int64_t i;
  int stream;
  for (stream = 0; stream < STREAMS; stream++) {
    REQUIRE_OK(watch_stream_request_progress(r->streams[stream]));
    while ((response = next(r->streams[stream]))->watch_id != WATCH_ID_NONE) {
      take_response(r, stream, response);
    }
  }
  for (i = 0; i < r->watcher_count; i++) {
    text *told = &r->watchers[i].told;
    if (told->len > 0) {
      fputs(told->data, stdout);
      told->len = 0;
    }
  }
}

static watch_store *open_store(const char *folder) {
  watch_store_options options;
  watch_store *store = NULL;
  WATCH_INIT(&options);
  options.flags = folder == NULL ? WATCH_OPEN_MEMORY : WATCH_OPEN_CREATE;
  options.durability = WATCH_DURABILITY_NONE;
  options.segment_bytes = SEGMENT_MIN;
  REQUIRE_OK(watch_store_open(folder, &options, &store));
  return store;
}

static void run_program(replay *r, FILE *program) {
  char *read = NULL;
  size_t room = 0;
  ssize_t len;
  for (r->step = -1; (len = getline(&read, &room, program)) > 0; r->step++) {
    line l;
    uint8_t *decoded = malloc((size_t)len);
    REQUIRE(decoded != NULL && read[len - 1] == '\n');
    read[len - 1] = '\0';
    l.rest = read;
    l.room = decoded;
    if (r->step < 0) {
      REQUIRE(strcmp(word(&l), "watchers") == 0);
      r->watcher_count = number(&l);
      REQUIRE((r->watchers = calloc((size_t)r->watcher_count + 1, sizeof *r->watchers)) != NULL);
    } else {
      run_step(r, &l);
      print_deliveries(r);
    }
    free(decoded);
  }
  free(read);
}

int main(int argc, char **argv) {
  replay r;
  int64_t i;
  memset(&r, 0, sizeof r);
  check_start();
  r.store = open_store(argc > 1 ? argv[1] : NULL);
  for (i = 0; i < STREAMS; i++) {
    r.streams[i] = open_stream(r.store);
  }
  run_program(&r, stdin);
  for (i = 0; i < STREAMS; i++) {
    watch_stream_close(r.streams[i]);
  }
  for (i = 0; i < r.watcher_count; i++) {
    free(r.watchers[i].told.data);
  }
  free(r.watchers);
  REQUIRE_OK(watch_store_close(r.store));
  return check_failed == 0 ? 0 : 1;
}
