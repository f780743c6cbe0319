#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <thread>

#include "check.hpp"
#include "ufm/abandonable.hpp"

namespace {

class StopAfter final : public ufm::Monitor {
 public:
  StopAfter(int polls, ufm::StopReason reason) : polls_(polls), reason_(reason) {}
  ufm::StopReason poll() override { return --polls_ < 0 ? reason_ : ufm::StopReason::none; }

 private:
  int polls_;
  ufm::StopReason reason_;
};

}  // namespace

UFM_TEST(watched_work_is_done_and_its_exceptions_are_thrown_on) {
  ufm::Monitor quiet;
  const auto done = std::make_shared<std::atomic<bool>>(false);
  ufm::run_watched([done] { *done = true; }, quiet);
  EXPECT(*done);
  bool thrown = false;
  try {
    ufm::run_watched([] { throw std::length_error("too long"); }, quiet);
  } catch (const std::length_error&) {
    thrown = true;
  }
  EXPECT(thrown);
  EXPECT(ufm::count_abandoned() == 0);
}

UFM_TEST(work_is_left_behind_when_the_monitor_asks) {
  const auto go = std::make_shared<std::atomic<bool>>(false);
  const auto done = std::make_shared<std::atomic<bool>>(false);
  for (const auto reason : {ufm::StopReason::abandon, ufm::StopReason::time_limit}) {
    StopAfter monitor(2, reason);
    bool stopped = false;
    try {
      ufm::run_watched(
          [go, done] {
            while (!*go) {
              std::this_thread::sleep_for(std::chrono::milliseconds(1));
            }
            *done = true;
          },
          monitor);
    } catch (const ufm::StopRequest& stop) {
      stopped = stop.reason == reason;
    }
    EXPECT(stopped);
    EXPECT(!*done);
  }
  EXPECT(ufm::count_abandoned() == 2);
  *go = true;
  ufm::finish_abandoned();
  EXPECT(*done);
  EXPECT(ufm::count_abandoned() == 0);
}
