// follow.cpp - the demo's C++ program: follows the whole tree from revision 1 on, in batches, and folds the
// events.   follow_cpp STORE OUTPUT
// Output and checks are those of follow.c.
#include <fstream>
#include <iostream>
#include <map>
#include <stdexcept>
#include <watch.hpp>

namespace {

constexpr std::int64_t patience_ms = 60'000;  // without any news

class Tree {
 public:
  void fold(const watch::Event &event) {
    if (event.mod_revision() < last_) throw std::runtime_error("revisions went back");
    last_ = event.mod_revision();
    ++events_;
    const auto found = paths_.find(event.key());
    const watch::KeyValue *prev = event.prev_kv();
    if ((found == paths_.end()) != (prev == nullptr)) {
      throw std::runtime_error("a previous value is missing or too many");
    }
    if (prev != nullptr && prev->value() != found->second) {
      throw std::runtime_error("a previous value is wrong");
    }
    if (event.is_delete()) {
      if (found != paths_.end()) paths_.erase(found);
    } else if (found != paths_.end()) {
      found->second = event.value();
    } else {
      paths_.emplace(event.key(), event.value());
    }
  }
  void write(const char *path) const {
    std::ofstream out(path, std::ios::binary);
    for (const auto &[key, value] : paths_) out << key << '\0' << value << '\0';
    if (!out.flush()) throw std::runtime_error("cannot write the output");
  }
  std::uint64_t events() const { return events_; }
  std::int64_t last() const { return last_; }

 private:
  std::map<std::string, std::string, std::less<>> paths_;
  std::uint64_t events_ = 0;
  std::int64_t last_ = 0;
};

// Folds until the answer to the progress request says that everything has been delivered.
void follow(watch::Stream &stream, Tree &tree) {
  watch::ResponseView buffer[64];
  for (;;) {
    const auto batch = stream.next_batch(buffer, 64, patience_ms).value();
    if (batch.empty()) throw std::runtime_error("nothing arrived for a minute");
    for (const watch::ResponseView &response : batch) {
      if (response.canceled()) throw watch::Exception(response.cancel_error().value());
      for (const watch::Event &event : response.events()) tree.fold(event);
      if (response.progress()) return;
    }
  }
}

}  // namespace

int main(int argc, char **argv) {
  if (argc != 3) {
    std::cerr << "usage: " << argv[0] << " STORE OUTPUT\n";
    return 2;
  }
  Tree tree;
  try {
    watch_store_options options;
    WATCH_INIT(&options);
    options.flags = WATCH_OPEN_READ_ONLY;
    watch::Store store = watch::Store::open(argv[1], &options).value();
    watch::Stream stream = store.stream().value();
    watch::WatchOptions history;
    history.start_revision = 1;
    history.prev_kv = true;
    stream.create(watch::KeyRange::all(), history).value();
    stream.request_progress().value();
    follow(stream, tree);
    stream.close();
    store.close().value();
    tree.write(argv[2]);
  } catch (const std::exception &e) {
    std::cerr << "follow.cpp: " << e.what() << " (after " << tree.events() << " events, at revision "
              << tree.last() << ")\n";
    return 1;
  }
  std::cout << "events " << tree.events() << " last " << tree.last() << '\n';
  return 0;
}
