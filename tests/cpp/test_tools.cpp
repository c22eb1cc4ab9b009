// Checking and copying whole stores.
#include "check.hpp"

#include <fstream>

using watch::Store;

static Store open(const std::string &path, std::uint32_t flags) {
  watch_store_options o;
  WATCH_INIT(&o);
  o.flags = flags;
  o.durability = WATCH_DURABILITY_NONE;
  return check::need(Store::open(path.c_str(), &o));
}

// etcd 1.1, 1.6: the copy has the history, and goes on where the original will never come.
TEST(a_copy_is_a_store_of_its_own) {
  const check::TempDir folder;
  const std::string path = folder / "copy";
  Store store = check::memory();
  CHECK_OK(store.put("k", "one"));
  CHECK_OK(store.put("k", "two"));
  const watch_backup_report copied = check::need(store.backup(path));
  CHECK_EQ(copied.revision, 3);
  CHECK(copied.fork_revision > copied.revision);
  const watch_verify_report verified = check::need(watch::verify(path));
  CHECK_EQ(verified.revision, 3);
  CHECK_EQ(verified.transaction_count, 2u);
  CHECK_EQ(verified.closed, 1u);
  {
    Store copy = open(path, WATCH_OPEN_READ_ONLY);
    CHECK_EQ(copy.revision(), 3);
    CHECK_EQ(check::need(copy.get("k", 2))->kv()->value(), "one");
    CHECK_ERR(watch::verify(path), WATCH_ERR_LOCKED);
  }
  Store copy = open(path, 0);
  CHECK_EQ(*copy.put("k", "three"), copied.fork_revision + 1);
  CHECK_ERR(store.backup(path), WATCH_ERR_IO);
  CHECK_OK(store.close());
}

// etcd 19.9: damage is named with file and place.
TEST(damage_is_named) {
  const check::TempDir folder;
  const std::string path = folder / "store";
  {
    Store store = open(path, WATCH_OPEN_CREATE);
    CHECK_OK(store.put("k", "one"));
    CHECK_OK(store.put("k", "two"));
  }
  CHECK_OK(watch::verify(path));
  std::fstream file(path + "/seg-0000000000000001.lws", std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(4096 + 40 + 60);
  file.put('!');
  file.close();
  CHECK(file.good());
  const auto found = watch::verify(path);
  CHECK_ERR(found, WATCH_ERR_CORRUPT);
  CHECK(found.error().message().find("seg-0000000000000001.lws, offset 4136") != std::string::npos);
}

RUN_TESTS()
