// Room for the buffers of BLAS under a limit on the address space.
#pragma once

namespace ufm {

// Held during a BLAS or LAPACK call. OpenBLAS maps a buffer for every thread that is inside a call,
// keeps it, and tries forever where the mapping fails. So the first call of each new thread makes
// sure that the mapping would succeed.
class BlasRoom {
 public:
  BlasRoom();  // throws std::bad_alloc
  ~BlasRoom();
  BlasRoom(const BlasRoom&) = delete;
  BlasRoom& operator=(const BlasRoom&) = delete;
};

}  // namespace ufm
