// A small test harness: named cases, and checks that report and count instead of aborting.
#pragma once

#include <cmath>
#include <functional>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

namespace ufm::testing {

struct Case {
  std::string name;
  std::function<void()> body;
};

inline std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

inline int& failures() {
  static int count = 0;
  return count;
}

struct Registration {
  Registration(std::string name, std::function<void()> body) {
    cases().push_back({std::move(name), std::move(body)});
  }
};

inline void expect(bool condition, const std::string& what, const char* file, int line) {
  if (!condition) {
    ++failures();
    std::cerr << file << ":" << line << ": " << what << '\n';
  }
}

inline void expect_near(double a, double b, double tolerance, const std::string& what,
                        const char* file, int line) {
  // Written so that NaN fails.
  if (!(std::abs(a - b) <= tolerance)) {
    ++failures();
    std::cerr << file << ":" << line << ": " << what << ": " << a << " differs from " << b << " by "
              << std::abs(a - b) << '\n';
  }
}

}  // namespace ufm::testing

#define UFM_TEST(name)                                                       \
  static void name();                                                        \
  static const ufm::testing::Registration name##_registration(#name, &name); \
  static void name()
#define EXPECT(condition) ufm::testing::expect((condition), #condition, __FILE__, __LINE__)
#define EXPECT_NEAR(a, b, tolerance) \
  ufm::testing::expect_near((a), (b), (tolerance), #a " = " #b, __FILE__, __LINE__)
