#include <cmath>

#include "check.hpp"
#include "ufm/quadrature.hpp"

namespace {

using ufm::Index;
using ufm::Vector;

// Falling points, dense at the lower end, with masses from one to some hundreds and one heavy
// point.
struct Example {
  Vector points;
  Vector mass;
};

Example example(Index size) {
  Example result{Vector(size), Vector(size)};
  for (Index i = 0; i < size; ++i) {
    const double share = static_cast<double>(i) / static_cast<double>(size - 1);
    result.points[i] = 9.0 - 2.5 * std::pow(share, 0.3);
    result.mass[i] = 1.0 + static_cast<double>((37 * i) % 211);
  }
  result.mass[size / 3] = 10.0 * result.mass.sum();
  return result;
}

}  // namespace

// Few points, and so many that they are condensed first.
UFM_TEST(gauss_rule_has_the_measures_moments) {
  for (const Index size : {Index{9}, Index{300}, Index{5000}, Index{40000}}) {
    const Example measure = example(size);
    const Vector values = measure.points.array().exp();
    for (const Index nodes : {Index{1}, Index{4}, Index{8}}) {
      const ufm::GaussRule rule = ufm::gauss_rule(ufm::log_measure(values, measure.mass), nodes);
      EXPECT(rule.weights.minCoeff() > 0.0);
      const double middle = 7.75;
      for (Index power = 0; power < 2 * nodes; ++power) {
        const auto moment = [&](const Vector& at, const Vector& weights) {
          const Eigen::ArrayXd t = (at.array() - middle) / 1.25;
          return (weights.array() * t.pow(static_cast<double>(power))).sum();
        };
        const double wanted = moment(measure.points, measure.mass);
        EXPECT_NEAR(moment(rule.nodes, rule.weights), wanted, 1e-10 * measure.mass.sum());
      }
    }
  }
}
