// Bytes read as the parts of a problem.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

namespace ufm::fuzz {

// Reads numbers from bytes; zeros after the end.
class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}

  std::uint8_t byte() { return place_ < size_ ? data_[place_++] : std::uint8_t{0}; }

  // 0 to limit - 1.
  int below(int limit) { return byte() % limit; }

  // Most bytes stand for a number between low and high, evenly in the logarithm, so that equal
  // bytes make equal classes; the last ones for numbers at the edge of what doubles can hold, 255
  // for the double in the next eight bytes.
  double real(double low, double high) {
    constexpr int ordinary = 256 - static_cast<int>(edges.size()) - 1;
    const int code = byte();
    if (code < ordinary) {
      const double part = static_cast<double>(code) / (ordinary - 1);
      return std::clamp(low * std::pow(high / low, part), low, high);
    }
    double value = 0.0;
    if (code < 255) {
      value = edges[static_cast<std::size_t>(code - ordinary)];
    } else {
      const std::size_t given = std::min(sizeof value, size_ - place_);
      std::memcpy(&value, data_ + place_, given);  // missing bytes are zero, as value was
      place_ += given;
    }
    ordinary_ = ordinary_ && value >= low && value <= high;
    return value;
  }

  // Whether all real numbers so far lay between their low and high.
  bool ordinary() const { return ordinary_; }

 private:
  using Limits = std::numeric_limits<double>;
  static constexpr std::array<double, 24> edges{0.0,
                                                -0.0,
                                                -1.0,
                                                1.0,
                                                2.0,
                                                100.0,
                                                500.0,
                                                0.5,
                                                1e-8,
                                                1e8,
                                                1e-20,
                                                1e20,
                                                1e-160,
                                                1e160,
                                                1e-300,
                                                1e300,
                                                1.0 - Limits::epsilon(),
                                                1.0 + Limits::epsilon(),
                                                Limits::denorm_min(),
                                                Limits::min(),
                                                Limits::max(),
                                                Limits::infinity(),
                                                -Limits::infinity(),
                                                Limits::quiet_NaN()};

  const std::uint8_t* data_;
  std::size_t size_;
  std::size_t place_ = 0;
  bool ordinary_ = true;
};

}  // namespace ufm::fuzz
