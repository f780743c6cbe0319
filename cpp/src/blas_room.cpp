#include "ufm/blas_room.hpp"

#include <atomic>
#include <cstddef>
#include <new>

#include "ufm/linalg.hpp"

#if defined(__unix__) || defined(__APPLE__)
#include <sys/mman.h>
#endif

namespace ufm {
namespace {

std::atomic<int> threads_of_a_call{1};
std::atomic<int> calls{0};    // under way
std::atomic<int> buffers{0};  // that must exist by now

constexpr std::size_t buffer_size = std::size_t{40} << 20;

// Reaches Python as a MemoryError with this text.
class NoRoom final : public std::bad_alloc {
 public:
  const char* what() const noexcept override {
    return "no address space for a buffer of the linear algebra library";
  }
};

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

}  // namespace

void expect_blas_threads(int threads) { threads_of_a_call = threads > 1 ? threads : 1; }

BlasRoom::BlasRoom() {
  const int needed = calls.fetch_add(1) + threads_of_a_call;
  const int missing = needed - buffers.load();
  if (missing > 0 && !can_map(static_cast<std::size_t>(missing) * buffer_size)) {
    --calls;
    throw NoRoom();
  }
}

BlasRoom::~BlasRoom() {
  // As many as were inside at once, and at least this call's own, have buffers now.
  const int used = calls.fetch_sub(1) - 1 + threads_of_a_call;
  int known = buffers.load();
  while (used > known && !buffers.compare_exchange_weak(known, used)) {
  }
}

}  // namespace ufm
