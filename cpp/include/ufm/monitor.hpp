// How a long computation is watched and stopped from outside.
#pragma once

namespace ufm {

enum class StopReason {
  none,
  interrupted,  // end early; the best iterate is still certified
  time_limit,   // likewise
  abandon,      // end at once; nobody will look at a result
};

// Thrown by Monitor::check and caught by the solvers, which then return their best iterate, unless
// the reason is to abandon.
struct StopRequest {
  StopReason reason;
};

class Monitor {
 public:
  virtual ~Monitor() = default;

  // Called often (between pieces of at most a few tenths of a second of work).
  virtual StopReason poll() { return StopReason::none; }

  // Called once an iteration; relative_gap is NaN until a certificate was computed.
  virtual void report(int /*iteration*/, double /*objective*/, double /*relative_gap*/) {}

  void check() {
    const StopReason reason = poll();
    if (reason != StopReason::none) {
      throw StopRequest{reason};
    }
  }
};

}  // namespace ufm
