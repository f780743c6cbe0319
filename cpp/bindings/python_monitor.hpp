// Lets Python's signals, a time limit and a progress callback reach a running solve.
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <exception>
#include <limits>
#include <stdexcept>
#include <utility>

#include "ufm/monitor.hpp"

namespace ufm::python {

class PythonMonitor final : public Monitor {
 public:
  // progress may be None; time_limit is in seconds, infinity for none.
  PythonMonitor(pybind11::object progress, double time_limit)
      : progress_(std::move(progress)), time_limit_(time_limit), start_(Clock::now()) {}

  StopReason poll() override {
    const Clock::time_point now = Clock::now();
    if (stopping_ == StopReason::none && now - last_poll_ > std::chrono::milliseconds(50)) {
      last_poll_ = now;
      if (std::chrono::duration<double>(now - start_).count() > time_limit_) {
        stopping_ = StopReason::time_limit;
        return stopping_;
      }
      const pybind11::gil_scoped_acquire gil;
      if (PyErr_CheckSignals() != 0) {
        keep_python_error();
      }
    }
    return stopping_;
  }

  void report(int iteration, double objective, double relative_gap) override {
    const Clock::time_point now = Clock::now();
    if (progress_.is_none() || now - last_report_ < std::chrono::milliseconds(100)) {
      return;
    }
    last_report_ = now;
    const pybind11::gil_scoped_acquire gil;
    try {
      if (pybind11::bool_(progress_(iteration, objective, relative_gap))) {
        stopping_ = StopReason::interrupted;
      }
    } catch (pybind11::error_already_set&) {
      error_ = std::current_exception();
      stopping_ = StopReason::abandon;
    }
  }

  // To be called with the GIL held after the computation: raises what a signal handler or the
  // progress callback raised.
  void rethrow() const {
    if (error_) {
      std::rethrow_exception(error_);
    }
  }

 private:
  using Clock = std::chrono::steady_clock;

  void keep_python_error() {
    try {
      throw pybind11::error_already_set();
    } catch (...) {
      error_ = std::current_exception();
    }
    stopping_ = StopReason::abandon;
  }

  pybind11::object progress_;
  double time_limit_;
  Clock::time_point start_;
  Clock::time_point last_poll_ = Clock::now();
  Clock::time_point last_report_ = Clock::now();
  StopReason stopping_ = StopReason::none;
  std::exception_ptr error_;
};

// Runs work that takes a monitor without the GIL, so that Ctrl-C ends it.
template <typename Work>
auto interruptible(Work work) {
  PythonMonitor monitor(pybind11::none(), std::numeric_limits<double>::infinity());
  try {
    const pybind11::gil_scoped_release release;
    return work(monitor);
  } catch (const StopRequest&) {
    monitor.rethrow();
    throw std::runtime_error("the computation was abandoned");
  }
}

}  // namespace ufm::python
