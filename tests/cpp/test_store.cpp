// Store: open, put, get, erase, compact, sync, numbers, close.
#include "check.hpp"

using watch::KeyRange;
using watch::Store;

static watch_store_options options(std::uint32_t flags) {
  watch_store_options o;
  WATCH_INIT(&o);
  o.flags = flags;
  o.durability = WATCH_DURABILITY_NONE;
  return o;
}

TEST(a_store_in_memory_begins_at_revision_1) {
  Store store = check::memory();
  CHECK_EQ(store.revision(), 1);
  CHECK_EQ(store.compact_revision(), -1);
  CHECK_EQ(*store.put("a", "1"), 2);
  CHECK_EQ(*store.put("b", "2"), 3);
  CHECK_EQ(store.revision(), 3);
  CHECK_OK(store.close());
}

TEST(get_finds_versions) {
  Store store = check::memory();
  CHECK_OK(store.put("k", "one"));
  CHECK_OK(store.put("k", "two"));
  const auto now = check::need(store.get("k"));
  if (!CHECK(now.has_value())) return;
  const watch::KeyValue &kv = *now->kv();
  CHECK_EQ(kv.key(), "k");
  CHECK_EQ(kv.value(), "two");
  CHECK_EQ(kv.create_revision, 2);
  CHECK_EQ(kv.mod_revision, 3);
  CHECK_EQ(kv.version, 2);
  CHECK_EQ(check::text(*check::need(store.get("k", 2))), "k=one");
  CHECK(!check::need(store.get("absent")).has_value());
  CHECK(!check::need(store.get("k", 1)).has_value());
  CHECK_ERR(store.get(""), WATCH_ERR_EMPTY_KEY);
}

TEST(bytes_are_bytes) {
  Store store = check::memory();
  const std::string key("a\0b\xff", 4), value("\0\0", 2);
  CHECK_OK(store.put(key, value));
  CHECK_OK(store.put("empty", ""));
  CHECK_EQ(check::need(store.get(key))->kv()->key(), key);
  CHECK_EQ(check::need(store.get(key))->kv()->value(), value);
  CHECK_EQ(check::need(store.get("empty"))->kv()->value(), "");
}

TEST(put_with_every_option) {
  Store store = check::memory();
  watch::PutOptions prev, keep_value, keep_lease, lease;
  prev.prev_kv = keep_value.ignore_value = keep_lease.ignore_lease = true;
  lease.lease = 77;
  CHECK_ERR(store.put_with("k", "", keep_value), WATCH_ERR_KEY_NOT_FOUND);
  CHECK_ERR(store.put_with("k", "v", keep_lease), WATCH_ERR_KEY_NOT_FOUND);
  const auto first = check::need(store.put_with("k", "1", prev));
  CHECK_EQ(first.revision(), 2);
  CHECK_EQ(first.op(), static_cast<std::uint32_t>(WATCH_OP_PUT));
  CHECK(first.kv() == nullptr);
  CHECK_OK(store.put_with("k", "2", lease));
  CHECK_EQ(check::need(store.get("k"))->kv()->lease, 77);
  CHECK_OK(store.put_with("k", "3", keep_lease));
  CHECK_EQ(check::need(store.get("k"))->kv()->lease, 77);
  const auto last = check::need(store.put_with("k", "4", prev));
  CHECK_EQ(check::text(last), "k=3");
  CHECK_EQ(check::need(store.get("k"))->kv()->lease, 0);
  CHECK_OK(store.put_with("k", "", keep_value));
  CHECK_EQ(check::text(*check::need(store.get("k"))), "k=4");
}

TEST(erase_counts_keys) {
  Store store = check::memory();
  for (const char *key : {"a", "b", "c"}) CHECK_OK(store.put(key, "v"));
  CHECK_EQ(*store.erase(KeyRange::one("a")), 1);
  CHECK_EQ(store.revision(), 5);
  CHECK_EQ(*store.erase(KeyRange::one("a")), 0);
  CHECK_EQ(store.revision(), 5);
  const auto rest = check::need(store.erase_with(KeyRange::all(), true));
  CHECK_EQ(rest.count(), 2);
  CHECK_EQ(rest.revision(), 6);
  CHECK_EQ(check::text(rest), "b=v c=v");
  CHECK_EQ(check::need(store.erase_with(KeyRange::all(), false)).count(), 0);
}

TEST(compaction_takes_history_away) {
  Store store = check::memory();
  for (int i = 0; i < 5; ++i) CHECK_OK(store.put("k", std::to_string(i)));
  CHECK_OK(store.compact(4));
  CHECK_EQ(store.compact_revision(), 4);
  CHECK_EQ(check::text(*check::need(store.get("k", 4))), "k=2");
  CHECK_ERR(store.get("k", 3), WATCH_ERR_COMPACTED);
  CHECK_ERR(store.compact(4), WATCH_ERR_COMPACTED);
  CHECK_ERR(store.compact(7), WATCH_ERR_FUTURE_REVISION);
  CHECK_OK(store.compact(6, true));
}

TEST(files_keep_everything) {
  check::TempDir dir;
  const std::string path = dir / "store";
  const watch_store_options create = options(WATCH_OPEN_CREATE);
  {
    Store store = check::need(Store::open(path.c_str(), &create));
    CHECK_OK(store.put("k", "v"));
    CHECK_OK(store.sync());
    CHECK_EQ(store.durable_revision(), 2);
    CHECK_ERR(Store::open(path.c_str(), &create), WATCH_ERR_LOCKED);
    CHECK_OK(store.close());
  }
  const watch_store_options existing = options(0);
  Store store = check::need(Store::open(path.c_str(), &existing));
  CHECK_EQ(store.revision(), 2);
  CHECK_EQ(check::text(*check::need(store.get("k"))), "k=v");
  CHECK_EQ(*store.put("k", "w"), 3);
}

TEST(a_store_may_be_required_to_exist) {
  check::TempDir dir;
  const watch_store_options read_only = options(WATCH_OPEN_READ_ONLY);
  CHECK(!Store::open((dir / "absent").c_str(), &read_only));
}

TEST(a_read_only_store_refuses_writes) {
  check::TempDir dir;
  const std::string path = dir / "store";
  const watch_store_options create = options(WATCH_OPEN_CREATE);
  {
    Store store = check::need(Store::open(path.c_str(), &create));
    CHECK_OK(store.put("k", "v"));
  }
  const watch_store_options read_only = options(WATCH_OPEN_READ_ONLY);
  Store store = check::need(Store::open(path.c_str(), &read_only));
  CHECK_EQ(check::text(*check::need(store.get("k"))), "k=v");
  CHECK_ERR(store.put("k", "w"), WATCH_ERR_READ_ONLY);
  CHECK_ERR(store.erase(KeyRange::all()), WATCH_ERR_READ_ONLY);
}

TEST(unknown_flags_are_refused) {
  const watch_store_options odd = options(1u << 30);
  CHECK_ERR(Store::memory(&odd), WATCH_ERR_UNSUPPORTED);
}

TEST(stats_count) {
  Store store = check::memory();
  watch::Stream stream = check::need(store.stream());
  check::need(stream.create(KeyRange::all()));
  CHECK_OK(store.put("a", "v"));
  CHECK_OK(store.put("b", "v"));
  CHECK_EQ(check::need(store.stats()).key_count, 2u);
  CHECK_OK(store.erase(KeyRange::one("a")));
  const watch_store_stats stats = check::need(store.stats());
  CHECK_EQ(stats.revision, 4);
  CHECK_EQ(stats.compact_revision, -1);
  CHECK_EQ(stats.stream_count, 1u);
  CHECK_EQ(stats.watch_count, 1u);
  CHECK_EQ(stats.put_total, 2u);
  CHECK_EQ(stats.delete_total, 1u);
}

TEST(a_store_moves) {
  Store a = check::memory();
  CHECK_OK(a.put("k", "v"));
  Store b = std::move(a);
  CHECK_EQ(b.revision(), 2);
  CHECK(a.handle() == nullptr && b.handle() != nullptr);
  CHECK_ERR(a.put("k", "v"), WATCH_ERR_INVALID_ARGUMENT);
  CHECK_ERR(a.stats(), WATCH_ERR_INVALID_ARGUMENT);
  a = check::memory();
  CHECK_EQ(a.revision(), 1);
  b = std::move(a);
  CHECK_EQ(b.revision(), 1);
}

TEST(log_functions_get_lines_and_are_destroyed) {
  auto mailbox = std::make_shared<check::Mailbox>();
  const std::weak_ptr<check::Mailbox> weak = mailbox;
  const auto log = [mailbox](std::uint32_t level, std::string_view line) {
    if (level <= WATCH_LOG_INFO) mailbox->put(std::string(line));
  };
  CHECK_OK(watch::set_log(WATCH_LOG_INFO, log));
  { Store store = check::memory(); }
  CHECK(!mailbox->take().empty());
  CHECK_OK(watch::set_log(WATCH_LOG_INFO, nullptr));
  const std::size_t before = mailbox->size();
  { Store store = check::memory(); }
  CHECK_EQ(mailbox->size(), before);
  CHECK_EQ(weak.use_count(), 2);  // this test's two; the library gave its copy up
}

#ifdef __cpp_exceptions
TEST(a_throw_in_a_log_function_is_swallowed) {
  check::Mailbox mailbox;
  CHECK_OK(watch::set_log(WATCH_LOG_INFO, [&mailbox](std::uint32_t, std::string_view) {
    mailbox.put("called");
    throw 7;
  }));
  { Store store = check::memory(); }
  CHECK_EQ(mailbox.take(), "called");
  CHECK_OK(watch::set_log(WATCH_LOG_INFO, nullptr));
}
#endif

RUN_TESTS()
