// check.hpp - the harness of the C++ tests: TEST registers a story, CHECK counts against it, RUN_TESTS runs
// all of them under a watchdog and prints "N passed, N failed". Works without exceptions too.
#ifndef CHECK_HPP
#define CHECK_HPP

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "watch.hpp"

namespace check {

struct Case {
  const char *name;
  void (*run)();
};
inline std::vector<Case> &cases() {
  static std::vector<Case> all;
  return all;
}
inline bool add(const char *name, void (*run)()) {
  cases().push_back({name, run});
  return true;
}
inline int failures = 0;  // of the case that runs
inline const char *volatile running = "";

inline std::string show(std::string_view text) { return "\"" + std::string(text) + "\""; }
inline std::string show(const std::string &text) { return show(std::string_view(text)); }
inline std::string show(const char *text) { return show(std::string_view(text)); }
inline std::string show(bool value) { return value ? "true" : "false"; }
template <class T>
std::string show(const T &number) {
  return std::to_string(number);
}

// Thr: the main thread of a test only.
inline bool report(bool good, const std::string &what, const char *file, int line) {
  if (!good) {
    ++failures;
    std::printf("%s:%d: %s: %s\n", file, line, running, what.c_str());
  }
  return good;
}
template <class A, class B>
bool equals(const A &a, const B &b, const char *text, const char *file, int line) {
  const bool good = a == b;
  return good ? report(true, text, file, line)
              : report(false, std::string(text) + ": " + show(a) + " against " + show(b), file, line);
}
template <class T>
bool good(const watch::Result<T> &result, const char *text, const char *file, int line) {
  return report(result.has_value(), result ? text : std::string(text) + ": " + result.error().message(), file,
                line);
}
template <class T>
bool fails(const watch::Result<T> &result, watch_status status, const char *text, const char *file,
           int line) {
  if (result) return report(false, std::string(text) + ": no error", file, line);
  return equals(std::string(result.error().name()), std::string(watch_status_name(status)), text, file, line);
}

inline void hang(int) {
  static const char text[] = "watchdog: a test hangs: ";
  static_cast<void>(!::write(2, text, sizeof text - 1));
  static_cast<void>(!::write(2, running, std::strlen(running)));
  static_cast<void>(!::write(2, "\n", 1));
  ::_exit(3);
}

inline int run_all() {
  int passed = 0, failed = 0;
  ::signal(SIGALRM, hang);
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  for (const Case &c : cases()) {
    failures = 0;
    running = c.name;
    ::alarm(60);
    c.run();
    ++(failures == 0 ? passed : failed);
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 && passed > 0 ? 0 : 1;
}

// A directory of its own, removed at the end.
class TempDir {
 public:
  TempDir() {
    std::string name = (std::filesystem::temp_directory_path() / "watch-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::perror("mkdtemp"), ::_exit(3);
    path_ = name;
  }
  TempDir(const TempDir &) = delete;
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string operator/(const char *name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// An object that no test can do without; the program ends if there is none.
template <class T>
T need(watch::Result<T> result) {
  if (!result) {
    std::printf("%s: cannot go on: %s\n", running, result.error().message().c_str());
    ::_exit(3);
  }
  return *std::move(result);
}
inline watch::Store memory() { return need(watch::Store::memory()); }
inline watch::ResponseView next(watch::Stream &stream) { return *need(stream.next()); }

// Text of a response that a test compares: "+k=v@2 -k@3".
inline std::string text(const watch::ResponseView &response) {
  std::string out;
  for (const watch::Event &e : response.events()) {
    if (!out.empty()) out += ' ';
    out += e.is_put() ? '+' : '-';
    out += e.key();
    if (e.is_put()) out += "=", out += e.value();
    out += "@" + std::to_string(e.mod_revision());
  }
  return out;
}
// Keys and values of a result: "k=v".
inline std::string text(const watch::ResultView &result) {
  std::string out;
  for (const watch::KeyValue &kv : result.kvs()) {
    if (!out.empty()) out += ' ';
    out += kv.key(), out += "=", out += kv.value();
  }
  return out;
}

// Texts handed from callbacks to the test.
class Mailbox {
 public:
  void put(std::string text) {
    const std::lock_guard<std::mutex> guard(mutex_);
    letters_.push_back(std::move(text));
    changed_.notify_all();
  }
  std::string take() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return !letters_.empty(); });
    std::string letter = std::move(letters_.front());
    letters_.erase(letters_.begin());
    return letter;
  }
  std::size_t size() {
    const std::lock_guard<std::mutex> guard(mutex_);
    return letters_.size();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> letters_;
};

}  // namespace check

#define TEST(name)                                                   \
  static void name();                                                \
  [[maybe_unused]] static const bool name##_added = check::add(#name, name); \
  static void name()
#define CHECK(condition) check::report((condition), #condition, __FILE__, __LINE__)
#define CHECK_EQ(a, b) check::equals((a), (b), #a " == " #b, __FILE__, __LINE__)
#define CHECK_OK(result) check::good((result), #result, __FILE__, __LINE__)
#define CHECK_ERR(result, status) check::fails((result), (status), #result, __FILE__, __LINE__)
#define RUN_TESTS() \
  int main() { return check::run_all(); }

#endif  // CHECK_HPP
