#include "check.hpp"

int main() {
  int failed = 0;
  for (const ufm::testing::Case& test : ufm::testing::cases()) {
    const int before = ufm::testing::failures();
    test.body();
    if (ufm::testing::failures() > before) {
      ++failed;
      std::cout << "FAILED " << test.name << '\n';
    }
  }
  const auto total = static_cast<int>(ufm::testing::cases().size());
  std::cout << total - failed << " passed, " << failed << " failed\n";
  return failed == 0 ? 0 : 1;
}
