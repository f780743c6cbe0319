// Room for the buffers of BLAS under a limit on the address space.
#pragma once

namespace ufm {

// Held during a BLAS or LAPACK call. OpenBLAS maps a buffer for every thread that is inside a call,
// keeps it, and tries forever where the mapping fails. So where the address space is limited, a
// call that may need another buffer starts only if there is room for one. If not, it waits for
// calls under way, whose buffers it can use after them.
class BlasRoom {
 public:
  // Buffers that the call is sure to use.
  enum class Uses { none, one, one_a_thread };

  explicit BlasRoom(Uses uses);  // throws std::bad_alloc
  ~BlasRoom();
  BlasRoom(const BlasRoom&) = delete;
  BlasRoom& operator=(const BlasRoom&) = delete;

 private:
  Uses uses_;
};

// To be called in a forked child, where the calls of other threads have ended without a word.
void forget_blas_calls();

}  // namespace ufm
