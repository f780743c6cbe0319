#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "check.hpp"
#include "ufm/linalg.hpp"
#include "ufm/smooth_kernel.hpp"
#include "ufm/solve.hpp"
#include "ufm/structured.hpp"

namespace {

using ufm::Index;
using ufm::Matrix;
using ufm::Vector;

// Falling counts, all different, with multiplicities from one to seven.
ufm::Problem many_counts(Index size, double ratio, double multiple, double lambda_b) {
  ufm::Problem problem;
  problem.count.resize(size);
  problem.multiplicity.resize(size);
  for (Index i = 0; i < size; ++i) {
    const double share = static_cast<double>(i) / static_cast<double>(size - 1);
    problem.count[i] = 10.0 * std::pow(ratio, 1.0 - share);
    problem.multiplicity[i] = 1.0 + static_cast<double>((5 * i) % 7);
  }
  const double samples = problem.count.dot(problem.multiplicity);
  problem.loss_weight = problem.count / samples;
  problem.lambda_z = multiple * std::sqrt(problem.count[size - 1]) / samples;
  problem.lambda_b = lambda_b;
  return problem;
}

ufm::Reduction reduced(const ufm::Problem& problem) {
  ufm::Reduction reduction = ufm::reduce(problem, {});
  reduction.fill_interpolation(problem);
  return reduction;
}

ufm::ContinuumPoint solved(const ufm::Problem& problem, const ufm::Reduction& reduction) {
  ufm::SolveOptions options;
  options.method = ufm::Method::factored;
  options.tol = 1e-9;
  ufm::Monitor quiet;
  const ufm::ReducedSolution nodes = ufm::solve(reduction.problem, options, quiet);
  return ufm::expand_solution(problem, reduction, nodes.point, nodes.amplitudes);
}

// Values at the nodes that no problem has: rough, of the given size.
ufm::ContinuumPoint rough(const ufm::Reduction& reduction, double size) {
  ufm::ContinuumPoint point;
  const Index nodes = reduction.problem.size();
  point.node_values.resize(nodes, nodes);
  point.node_bias.resize(nodes);
  double angle = 0.1;
  for (Index a = 0; a < nodes; ++a) {
    for (Index b = 0; b < nodes; ++b) {
      angle = std::fmod(angle + 0.6180339887498949, 1.0);
      point.node_values(a, b) = size * (2.0 * angle - 1.0);
    }
    point.node_bias[a] = size * std::sin(static_cast<double>(7 * a));
  }
  return point;
}

// Most that interpolation leaves out of exp(F + b) and (F + b) exp(F + b), as parts of exp(F + b),
// for every stride-th pair of clusters.
struct Errors {
  double plain = 0.0;
  double weighted = 0.0;
};

Errors brute_force(const ufm::Reduction& reduction, const ufm::ContinuumPoint& point,
                   const ufm::SmoothKernel& kernel, Index stride) {
  const Matrix weighted = kernel.values.cwiseProduct(kernel.logits);
  const Index size = reduction.num_clusters();
  const Matrix rows = reduction.expand(point.node_values);
  const Vector bias = reduction.expand(point.node_bias);
  const auto interpolated = [&](const Matrix& values, Index i, Index j) {
    const auto unit = [&](Index c) -> Vector {
      Vector indicator = Vector::Zero(size);
      indicator[c] = 1.0;
      return kernel.gather(indicator);
    };
    return unit(j).dot(values * unit(i));
  };
  Errors worst;
  for (Index i = 0; i < size; i += stride) {
    for (Index j = stride / 2; j < size; j += stride) {
      // F(x_j, x_i): rows are interpolated already, columns by the same matrices.
      double value = bias[j];
      for (const ufm::Panel& panel : reduction.panels) {
        if (i >= panel.first && i < panel.first + panel.count) {
          value += rows.row(j)
                       .segment(panel.first_node, panel.nodes.size())
                       .dot(panel.interpolation.row(i - panel.first));
        }
      }
      const double exact = std::exp(value);
      worst.plain =
          std::max(worst.plain, std::abs(interpolated(kernel.values, i, j) / exact - 1.0));
      worst.weighted =
          std::max(worst.weighted, std::abs(interpolated(weighted, i, j) / exact - value));
    }
  }
  return worst;
}

}  // namespace

UFM_TEST(smooth_kernel_bounds_what_it_leaves_out) {
  const ufm::Problem problem = many_counts(400, 400.0, 0.3, 0.01);
  const ufm::Reduction reduction = reduced(problem);
  for (const double size : {0.01, 0.3, 1.0, 3.0}) {
    const ufm::ContinuumPoint point = rough(reduction, size);
    const ufm::SmoothKernel kernel = ufm::smooth_kernel(reduction, point);
    const Errors errors = brute_force(reduction, point, kernel, 23);
    EXPECT(errors.plain <= kernel.error);
    EXPECT(errors.weighted <= kernel.weighted_error);
    if (size < 0.1) {
      EXPECT(kernel.error < 1e-13);
    }
  }
  // Where nothing is proved, nothing is claimed.
  const ufm::SmoothKernel wild = ufm::smooth_kernel(reduction, rough(reduction, 300.0));
  EXPECT(!(wild.error < 1.0));
}

// Nodes within two groups and fine nodes between them, where interpolation from the nodes amplifies
// rounding by orders of magnitude.
UFM_TEST(smooth_kernel_knows_of_gaps_between_groups) {
  ufm::Problem problem = many_counts(400, 2.0, 0.3, 0.01);
  for (Index i = 0; i < 400; ++i) {
    problem.count[i] =
        (i < 200 ? 4000.0 : 1000.0) * (1.0 + 1e-3 * static_cast<double>(200 - i % 200));
  }
  const ufm::Reduction reduction = reduced(problem);
  const ufm::ContinuumPoint point = rough(reduction, 1e-9);
  const ufm::SmoothKernel kernel = ufm::smooth_kernel(reduction, point);
  const Errors errors = brute_force(reduction, point, kernel, 23);
  EXPECT(errors.plain <= kernel.error);
  EXPECT(errors.weighted <= kernel.weighted_error);
}

UFM_TEST(smooth_certificate_agrees_with_a_visit_to_all_pairs) {
  ufm::Monitor quiet;
  for (const double multiple : {0.1, 0.5, 2.0, 10.0}) {
    for (const double lambda_b : {1e-6, 0.01, std::numeric_limits<double>::infinity()}) {
      const ufm::Problem problem = many_counts(700, 250.0, multiple, lambda_b);
      const ufm::Reduction reduction = reduced(problem);
      const ufm::ContinuumPoint point = solved(problem, reduction);
      const ufm::BlockLoss loss(problem);
      const ufm::CertifiedPoint visited = ufm::certify_visiting(loss, reduction, point, quiet);
      const std::optional<ufm::CertifiedPoint> smooth =
          ufm::certify_smooth(loss, reduction, point, 1e-6, quiet);
      EXPECT(smooth.has_value());
      if (!smooth) {
        continue;
      }
      const double value = visited.certificate.primal;
      EXPECT_NEAR(smooth->certificate.primal, value, 1e-8 * value);
      EXPECT_NEAR(smooth->certificate.dual, visited.certificate.dual, 3e-6 * value);
      const auto relative = [](const Vector& a, const Vector& b) {
        return ((a - b).array().abs() / b.array().abs()).maxCoeff();
      };
      EXPECT(relative(smooth->state.rest, visited.state.rest) < 1e-11);
      EXPECT(relative(smooth->state.log_own, visited.state.log_own) < 1e-11);
      EXPECT(relative(smooth->state.mean_log, visited.state.mean_log) < 1e-10);
      // The norm of the whole gradient is a lower bound of both upper bounds.
      ufm::LossState state;
      loss.evaluate(point.m.dense(), point.bias, state);
      Matrix gradient;
      Vector bias_gradient;
      loss.gradient(state, gradient, bias_gradient);
      const double norm = ufm::singular_values(gradient)[0];
      EXPECT(smooth->certificate.between.upper >= norm * (1.0 - 1e-13));
      ufm::NormBound exact;
      exact.upper = norm;
      const ufm::Certificate dense = ufm::certify_from_parts(loss, state, point.bias, bias_gradient,
                                                             smooth->nuclear_norm, exact);
      EXPECT(smooth->certificate.dual <= dense.dual + 1e-12 * value);
    }
  }
}
