// Work that cannot be interrupted, on a thread that can be left behind.
#pragma once

#include <functional>

#include "ufm/monitor.hpp"

namespace ufm {

// Runs the work on a thread of its own while this one watches the monitor. When the monitor asks to
// stop, StopRequest is thrown at once and the thread goes on alone, so that the work must own all
// that it touches. Exceptions of the work are thrown on.
void run_watched(std::function<void()> work, Monitor& monitor);

// Waits for all threads that were left behind. To be called before the process ends, since they may
// be inside a library that is about to be unloaded.
void finish_abandoned();

// How many have not ended yet.
int count_abandoned();

// In a forked child, which has none of the parent's threads.
void forget_abandoned();

}  // namespace ufm
