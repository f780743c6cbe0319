#include <atomic>
#include <chrono>
#include <fstream>
#include <new>
#include <thread>

#include "check.hpp"
#include "ufm/blas_room.hpp"

#if defined(__linux__)
#include <sys/resource.h>
#include <unistd.h>
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define UFM_SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define UFM_SANITIZED
#endif
#endif

// A sanitizer reserves address space of its own whenever it likes.
#if defined(__linux__) && !defined(UFM_SANITIZED)

namespace {

using ufm::BlasRoom;
using Uses = ufm::BlasRoom::Uses;

// Leaves so much address space, as long as it lives.
class Limited {
 public:
  explicit Limited(rlim_t left) {
    getrlimit(RLIMIT_AS, &before_);
    rlim_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    rlimit now = before_;
    now.rlim_cur = pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE)) + left;
    setrlimit(RLIMIT_AS, &now);
  }
  ~Limited() { setrlimit(RLIMIT_AS, &before_); }
  Limited(const Limited&) = delete;
  Limited& operator=(const Limited&) = delete;

 private:
  rlimit before_;
};

constexpr rlim_t little = rlim_t{16} << 20;

}  // namespace

UFM_TEST(a_call_that_has_no_room_for_its_first_buffer_throws) {
  ufm::forget_blas_calls();
  {
    const BlasRoom small(Uses::none);
  }
  const Limited limited(little);
  bool thrown = false;
  try {
    const BlasRoom room(Uses::one);
  } catch (const std::bad_alloc&) {
    thrown = true;
  }
  EXPECT(thrown);
}

UFM_TEST(overlapping_calls_are_not_taken_for_so_many_buffers) {
  ufm::forget_blas_calls();
  {
    const BlasRoom first(Uses::one);
    const BlasRoom second(Uses::one);  // may have started after the first had let go
  }
  std::atomic<bool> go{false};
  std::atomic<bool> inside{false};
  std::thread other([&] {
    while (!go) {
      std::this_thread::yield();
    }
    const BlasRoom room(Uses::one);
    inside = true;
  });
  {
    const Limited limited(little);
    {
      const BlasRoom room(Uses::one);
      go = true;
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      EXPECT(!inside);
    }
    other.join();  // goes on with the buffer of the call that has ended
  }
  EXPECT(inside);
}

#endif
