#include "ufm/blas_room.hpp"

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <new>

#include "ufm/linalg.hpp"

#if defined(__unix__) || defined(__APPLE__)
#include <sys/mman.h>
#include <sys/resource.h>
#endif
#if defined(__linux__)
#include <fstream>
#endif

namespace ufm {
namespace {

struct Calls {
  std::mutex mutex;
  std::condition_variable one_ended;
  int threads_each = 1;
  int under_way = 0;
  int buffers = 0;  // that are sure to be mapped
};

// Never destroyed, and replaced in a forked child: the mutex may have been locked at the fork.
Calls* calls = new Calls;

constexpr std::size_t buffer_size = std::size_t{40} << 20;
// What another thread may take between the look and the mapping: glibc reserves an arena of 64 MiB
// for its first allocation, and a new thread a stack.
constexpr std::size_t slack = std::size_t{72} << 20;

// Reaches Python as a MemoryError with this text.
class NoRoom final : public std::bad_alloc {
 public:
  const char* what() const noexcept override {
    return "no address space for a buffer of the linear algebra library";
  }
};

#if defined(__unix__) || defined(__APPLE__)
bool is_limited(int resource) {
  rlimit limit;
  return getrlimit(resource, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
}
#endif

#if defined(__linux__)
bool overcommits() {
  int mode = 0;
  std::ifstream("/proc/sys/vm/overcommit_memory") >> mode;
  return mode != 2;
}
#endif

// Whether a mapping can fail that does not exceed the memory of the machine.
bool mapping_can_fail() {
#if defined(__linux__)
  static const bool strict = !overcommits();
  return strict || is_limited(RLIMIT_AS) || is_limited(RLIMIT_DATA);
#elif defined(__unix__) || defined(__APPLE__)
  return is_limited(RLIMIT_AS);
#else
  return false;
#endif
}

bool can_map(std::size_t size) {
#if defined(__unix__) || defined(__APPLE__)
  void* probe = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
  if (probe == MAP_FAILED) {
    return false;
  }
  munmap(probe, size);
#else
  static_cast<void>(size);
#endif
  return true;
}

bool has_room(int buffers) {
  return buffers <= 0 || !mapping_can_fail() ||
         can_map(static_cast<std::size_t>(buffers) * buffer_size + slack);
}

}  // namespace

void expect_blas_threads(int threads) {
  const std::lock_guard<std::mutex> lock(calls->mutex);
  calls->threads_each = threads > 1 ? threads : 1;
}

void forget_blas_calls() {
  auto* fresh = new Calls;
  fresh->threads_each = calls->threads_each;
  calls = fresh;
}

BlasRoom::BlasRoom(Uses uses) : uses_(uses) {
  std::unique_lock<std::mutex> lock(calls->mutex);
  while (!has_room((calls->under_way + 1) * calls->threads_each - calls->buffers)) {
    if (calls->under_way == 0) {
      throw NoRoom();
    }
    calls->one_ended.wait(lock);
  }
  ++calls->under_way;
}

BlasRoom::~BlasRoom() {
  const std::lock_guard<std::mutex> lock(calls->mutex);
  --calls->under_way;
  // Calls that overlapped do not add up: one may have used the other's buffer after it.
  const int used = uses_ == Uses::none ? 0 : uses_ == Uses::one ? 1 : calls->threads_each;
  calls->buffers = std::max(calls->buffers, used);
  calls->one_ended.notify_all();
}

}  // namespace ufm
