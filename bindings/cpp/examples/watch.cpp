// watch.cpp - the same in C++: handles close themselves, results are values, events come in range-for.
// c++ -std=c++17 watch.cpp -lwatch && ./a.out
#include <iostream>
#include <map>
#include <thread>
#include <watch.hpp>

static int run() {
  watch::Store store = watch::Store::memory().value();  // value() throws; `if (!result)` is the other way

  // A transaction: create the service unless somebody has.
  watch::Txn txn;
  txn.when_version("service/a", WATCH_EQUAL, 0).then_put("service/a", "10.0.0.1");
  txn.else_range(watch::KeyRange::one("service/a"));
  std::cout << (store.commit(txn).value().succeeded() ? "created" : "there was one") << '\n';

  // List, then follow from the revision after it: nothing is missed, nothing comes twice.
  std::map<std::string, std::string, std::less<>> services;
  const watch::KeyRange range = watch::KeyRange::prefix("service/");
  const watch::ResultView list = store.range(range).value();
  for (const watch::KeyValue &kv : list.kvs()) services.emplace(kv.key(), kv.value());

  watch::Stream stream = store.stream().value();
  watch::WatchOptions options;
  options.start_revision = list.revision() + 1;
  options.prev_kv = true;
  stream.create(range, options).value();

  std::thread writer([&store] {
    store.put("service/b", "10.0.0.2").value();
    store.put("unrelated", "x").value();
    store.put("service/a", "10.0.0.3").value();
    store.erase(watch::KeyRange::one("service/b")).value();
  });

  watch::Response last;  // owned: keeps its events beyond the loop
  for (int events = 0; events < 3;) {
    const watch::ResponseView response = *stream.next().value();
    for (const watch::Event &event : response.events()) {
      std::cout << event.key() << ": " << (event.prev_kv() ? event.prev_kv()->value() : "nothing") << " -> "
                << (event.is_put() ? event.value() : "nothing") << '\n';
      if (event.is_put()) {
        services.insert_or_assign(std::string(event.key()), std::string(event.value()));
      } else {
        services.erase(services.find(event.key()));
      }
      ++events;
    }
    last = response.retain();
  }
  writer.join();
  for (const auto &[name, address] : services) std::cout << name << " = " << address << '\n';

  stream.close();
  store.close().value();
  std::cout << "last change at revision " << last.events()[last.events().size() - 1].mod_revision() << '\n';
  return 0;
}

int main() {
  try {
    return run();
  } catch (const watch::Exception &e) {
    std::cerr << e.error().name() << ": " << e.what() << '\n';
    return 1;
  }
}
