// Runs the plain text program of a recorded trace (tests/trace/steps.py says the format) on a store and
// prints the transcript: every answer, and after each step everything that was delivered meanwhile.
//
//   replay [FOLDER] <PROGRAM     in memory, or in files with the smallest segments
#include <cstdlib>
#include <initializer_list>
#include <iostream>
#include <map>
#include <sstream>

#include "check.hpp"

using watch::KeyRange;
using watch::ResultView;
using watch::Store;
using watch::Stream;
using watch::Txn;

static void require(bool holds, const char *what) {
  if (holds) return;
  std::cout << "cannot go on: " << what << std::endl;
  std::_Exit(1);
}

// One line of the program, word by word.
class Line {
 public:
  explicit Line(const std::string &text) : in_(text) {}
  std::string word() {
    std::string word;
    require(static_cast<bool>(in_ >> word), "a word is missing");
    return word;
  }
  std::int64_t number() { return to_number(word()); }
  bool flag() { return number() != 0; }
  std::string bytes() {
    const std::string digits = word();
    std::string bytes;
    if (digits == "-") return bytes;
    require(digits.size() % 2 == 0, "half a byte");
    for (std::size_t i = 0; i < digits.size(); i += 2) {
      bytes += static_cast<char>(std::strtoul(digits.substr(i, 2).c_str(), nullptr, 16));
    }
    return bytes;
  }
  KeyRange range() {
    std::string key = bytes();
    return KeyRange::between(key, bytes());
  }
  // The place of the word in a list of names.
  std::uint32_t one_of(std::initializer_list<std::pair<const char *, std::uint32_t>> names) {
    const std::string found = word();
    for (const auto &[name, number] : names) {
      if (found == name) return number;
    }
    require(false, "an unknown name");
    return 0;
  }
  bool ended() { return (in_ >> std::ws).eof(); }
  static std::int64_t to_number(const std::string &word) {
    char *end = nullptr;
    const std::int64_t number = std::strtoll(word.c_str(), &end, 10);
    require(end != word.c_str() && *end == '\0', "no number");
    return number;
  }

 private:
  std::istringstream in_;
};

static std::string hex(std::string_view bytes) {
  static const char digits[] = "0123456789abcdef";
  std::string out;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    out += digits[byte >> 4], out += digits[byte & 15];
  }
  return bytes.empty() ? "-" : out;
}
static std::string pair(const watch::KeyValue &kv) {
  std::ostringstream out;
  out << hex(kv.key()) << ' ' << hex(kv.value()) << ' ' << kv.create_revision << ' ' << kv.mod_revision << ' '
      << kv.version << ' ' << kv.lease << '\n';
  return out.str();
}

// The operations of a line; the caller has read their names.
struct Put {
  std::string key, value;
  watch::PutOptions options;
  explicit Put(Line &line) : key(line.bytes()), value(line.bytes()) { options.prev_kv = line.flag(); }
};
struct Erase {
  KeyRange range;
  bool prev_kv;
  explicit Erase(Line &line) : range(line.range()), prev_kv(line.flag()) {}
};
struct Range {
  KeyRange range;
  watch::RangeOptions options;
  explicit Range(Line &line) : range(line.range()) {
    options.revision = line.number();
    options.limit = line.number();
    options.min_mod_revision = line.number();
    options.max_create_revision = line.number();
    options.sort_target =
        line.one_of({{"KEY", WATCH_SORT_KEY}, {"CREATE", WATCH_SORT_CREATE}, {"MOD", WATCH_SORT_MOD}});
    options.sort_order = line.one_of(
        {{"NONE", WATCH_ORDER_NONE}, {"ASCEND", WATCH_ORDER_ASCEND}, {"DESCEND", WATCH_ORDER_DESCEND}});
    options.keys_only = line.flag();
    options.count_only = line.flag();
  }
};

static void read_compares(Line &line, Txn &txn) {
  for (std::int64_t left = line.number(); left > 0; --left) {
    const KeyRange key = KeyRange::one(line.bytes());
    const auto target = line.one_of({{"VERSION", WATCH_COMPARE_VERSION},
                                     {"CREATE", WATCH_COMPARE_CREATE},
                                     {"MOD", WATCH_COMPARE_MOD},
                                     {"VALUE", WATCH_COMPARE_VALUE}});
    const auto result = line.one_of({{"EQUAL", WATCH_EQUAL},
                                     {"GREATER", WATCH_GREATER},
                                     {"LESS", WATCH_LESS},
                                     {"NOT_EQUAL", WATCH_NOT_EQUAL}});
    if (target == WATCH_COMPARE_VALUE) {
      txn.when_value(key, result, line.bytes());
    } else {
      txn.when(key, target, result, line.number());
    }
  }
}

static void read_operations(Line &line, Txn &txn, bool then) {
  for (std::int64_t left = line.number(); left > 0; --left) {
    const std::string name = line.word();
    if (name == "put") {
      const Put put(line);
      then ? txn.then_put(put.key, put.value, put.options) : txn.else_put(put.key, put.value, put.options);
    } else if (name == "delete_range") {
      const Erase erase(line);
      then ? txn.then_delete(erase.range, erase.prev_kv) : txn.else_delete(erase.range, erase.prev_kv);
    } else {
      require(name == "range", "an unknown operation");
      const Range range(line);
      then ? txn.then_range(range.range, range.options) : txn.else_range(range.range, range.options);
    }
  }
}

class Replay {
 public:
  Replay(Store store, std::int64_t watchers)
      : store_(std::move(store)), streams_{check::need(store_.stream()), check::need(store_.stream())},
        ids_(static_cast<std::size_t>(watchers)) {}

  void run(Line line) {
    const std::string name = line.word();
    if (name == "watch") {
      run_watch(line);
    } else if (name == "cancel") {
      Stream &stream = streams_[stream_of(line)];
      told(stream.cancel(id_of(line)), "canceled\n");
    } else if (name == "compact") {
      const watch::Status status = store_.compact(line.number());
      told(status, "compact " + std::to_string(store_.revision()) + "\n");
    } else {
      run_operation(name, line);
    }
    require(line.ended(), "a word too many");
    print_deliveries();
    ++step_;
  }

 private:
  void run_operation(const std::string &name, Line &line) {
    if (name == "put") {
      const Put put(line);
      print(name, store_.put_with(put.key, put.value, put.options));
    } else if (name == "delete_range") {
      const Erase erase(line);
      print(name, store_.erase_with(erase.range, erase.prev_kv));
    } else if (name == "range") {
      const Range range(line);
      print(name, store_.range(range.range, range.options));
    } else {
      require(name == "txn", "an unknown step");
      Txn txn;
      read_compares(line, txn);
      read_operations(line, txn, true);
      read_operations(line, txn, false);
      print(name, store_.commit(txn));
    }
  }
  void run_watch(Line &line) {
    const std::int64_t watcher = line.number();
    const std::size_t stream = stream_of(line);
    watch::WatchOptions options;
    options.watch_id = id_of(line);
    const KeyRange range = line.range();
    options.start_revision = line.number();
    options.no_put = line.flag();
    options.no_delete = line.flag();
    options.prev_kv = line.flag();
    const watch::Result<std::int64_t> id = streams_[stream].create(range, options);
    told(id, "watch " + std::to_string(watcher) + "\n");
    if (!id) return;
    ids_.at(static_cast<std::size_t>(watcher)) = *id;
    watchers_[stream][*id] = watcher;
  }
  std::size_t stream_of(Line &line) {
    const std::int64_t stream = line.number();
    require(stream == 0 || stream == 1, "an unknown stream");
    return static_cast<std::size_t>(stream);
  }
  std::int64_t id_of(Line &line) {
    const std::string word = line.word();
    if (word == "auto") return WATCH_ID_AUTO;
    if (word[0] != '@') return Line::to_number(word);
    const auto watcher = static_cast<std::size_t>(Line::to_number(word.substr(1)));
    require(watcher < ids_.size(), "an unknown watcher");
    return ids_[watcher];
  }

  template <class T>
  void told(const watch::Result<T> &result, const std::string &answer) {
    std::cout << step_ << ' ' << (result ? answer : result.error().name() + std::string("\n"));
  }
  void print(const std::string &name, const watch::Result<ResultView> &result) {
    if (!result) return told(result, "");
    std::cout << step_ << ' ' << name << ' ' << result->revision();
    print_outcome(*result);
    for (const ResultView &part : result->results()) {
      const char *const names[] = {"?", "put", "range", "delete_range"};
      require(part.op() < std::size(names), "an unknown part");
      std::cout << step_ << " then " << names[part.op()];
      print_outcome(part);
    }
  }
  void print_outcome(const ResultView &result) {
    const bool is_range = result.op() == WATCH_OP_RANGE;
    if (is_range || result.op() == WATCH_OP_DELETE_RANGE) std::cout << ' ' << result.count();
    if (is_range) std::cout << ' ' << result.more();
    if (result.op() == WATCH_OP_TXN) std::cout << ' ' << result.succeeded();
    std::cout << '\n';
    for (const watch::KeyValue &kv : result.kvs()) {
      std::cout << step_ << (is_range ? " kv " : " prev ") << pair(kv);
    }
  }

  // Everything up to now, behind a request for progress as a barrier.
  void print_deliveries() {
    std::map<std::int64_t, std::string> delivered;
    for (std::size_t i = 0; i < 2; ++i) {
      check::need(streams_[i].request_progress());
      for (auto r = check::next(streams_[i]); r.watch_id() != WATCH_ID_NONE; r = check::next(streams_[i])) {
        const std::int64_t watcher = watchers_[i].at(r.watch_id());
        const std::string begin = std::to_string(step_) + " to " + std::to_string(watcher) + ' ';
        std::string &text = delivered[watcher];
        for (const watch::Event &event : r.events()) {
          text += begin + (event.is_put() ? "put " : "delete ") + pair(event.kv());
          if (event.prev_kv() != nullptr) text += begin + "prev " + pair(*event.prev_kv());
        }
        // The response to a cancel is no part of the recording.
        if (const auto error = r.cancel_error()) {
          require(error->status() == WATCH_ERR_COMPACTED, "a watch ended");
          text += begin + "canceled " + std::to_string(error->compact_revision()) + '\n';
        }
      }
    }
    for (const auto &[watcher, text] : delivered) std::cout << text;
  }

  Store store_;
  Stream streams_[2];
  std::vector<std::int64_t> ids_;                      // of watchers
  std::map<std::int64_t, std::int64_t> watchers_[2];  // who has an id, or had it last
  int step_ = 0;
};

static Store open(const char *folder) {
  watch_store_options options;
  WATCH_INIT(&options);
  options.flags = WATCH_OPEN_CREATE;
  options.durability = WATCH_DURABILITY_NONE;
  options.segment_bytes = 64 << 10;
  return check::need(folder != nullptr ? Store::open(folder, &options) : Store::memory(&options));
}

int main(int argc, char **argv) {
  ::signal(SIGALRM, check::hang);
  check::running = "replay";
  ::alarm(60);
  std::string text;
  require(static_cast<bool>(std::getline(std::cin, text)), "the program is empty");
  Line first(text);
  require(first.word() == "watchers", "the first line");
  Replay replay(open(argc > 1 ? argv[1] : nullptr), first.number());
  while (std::getline(std::cin, text)) replay.run(Line(text));
}
