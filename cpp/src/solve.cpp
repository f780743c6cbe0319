#include "ufm/solve.hpp"

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "ufm/bias.hpp"
#include "ufm/few_clusters.hpp"
#include "ufm/linalg.hpp"
#include "ufm/reduction.hpp"
#include "ufm/stopwatch.hpp"

namespace ufm {
namespace {

// One proximal step, which turns singular values that are only nearly zero into exact zeros. At
// the optimum it changes nothing, whatever its length.
ThresholdedMatrix proximal_step(const BlockLoss& loss, const Matrix& m, const LossState& state,
                                Monitor& monitor) {
  const double curvature = loss.problem().curvature_bound();
  Matrix gradient;
  Vector bias_gradient;
  loss.gradient(state, gradient, bias_gradient);
  return svt(m - gradient / curvature, loss.problem().lambda_z / curvature, monitor);
}

// At the optimum the logits of every column sum to zero (weighted by the inverse scales). Removing
// what is left of the sum does not change the loss and lowers the nuclear norm.
void remove_column_means(const Problem& problem, Matrix& m) {
  const Vector direction = problem.flat_direction();
  const Eigen::RowVectorXd means = direction.transpose() * m;
  m.noalias() -= direction * means;
}

CertifiedPoint proximal_cleanup(const BlockLoss& loss, const CertifiedPoint& from, double tol) {
  Monitor quiet;
  ThresholdedMatrix shrunk = proximal_step(loss, from.point.m, from.state, quiet);
  remove_column_means(loss.problem(), shrunk.value);
  return certify_best(loss, {std::move(shrunk.value), from.point.bias}, shrunk.nuclear_norm, tol,
                      true, quiet);
}

// The methods' upper bounds of the nuclear norm are tight at the optimum only: their excess is of
// second order in the gap.
constexpr double factors_are_tight = 2e-6;

void use_exact_norm(const Problem& problem, CertifiedPoint& point) {
  point.nuclear_norm = nuclear_norm(point.point.m);
  point.certificate.primal =
      primal_value(problem, point.state, point.point.bias, point.nuclear_norm);
  point.certificate.relative_gap = relative_gap(point.certificate.primal, point.certificate.dual);
}

// The directions of M = left right^T that would survive a proximal step, as columns. At the optimum
// the factors have equal Gram matrices, whose eigenvectors lead to the singular vectors of M.
Matrix surviving_directions(const BlockLoss& loss, const Iterate& iterate) {
  LossState state;
  loss.evaluate(iterate.point.m, iterate.point.bias, state);
  Matrix gradient;
  Vector bias_gradient;
  loss.gradient(state, gradient, bias_gradient);
  const Matrix gram =
      0.5 * (iterate.left.transpose() * iterate.left + iterate.right.transpose() * iterate.right);
  const Eigen::SelfAdjointEigenSolver<Matrix> eigen(gram);
  const Matrix left = iterate.left * eigen.eigenvectors();
  const Matrix right = iterate.right * eigen.eigenvectors();
  const Matrix slope = gradient * right;
  const double curvature = loss.problem().curvature_bound();
  std::vector<Index> kept;
  for (Index i = 0; i < left.cols(); ++i) {
    const double value = left.col(i).norm() * right.col(i).norm();
    const double push = value > 0.0 ? -left.col(i).dot(slope.col(i)) / value : 0.0;
    if (curvature * value + push > loss.problem().lambda_z) {
      kept.push_back(i);
    }
  }
  return eigen.eigenvectors()(Eigen::all, kept);
}

// By how much (||L||^2 + ||R||^2) / 2 exceeds ||L R^T||_*, to second order in the difference of the
// factors' Gram matrices, which are nearly diagonal.
double factors_excess(const Matrix& left, const Matrix& right) {
  Monitor quiet;
  Matrix difference;
  multiply(left, Transpose::yes, left, Transpose::no, difference, quiet);
  Vector sum = difference.diagonal();
  multiply_into(right, Transpose::yes, right, Transpose::no, -1.0, difference, quiet);
  sum += right.colwise().squaredNorm().transpose();
  double excess = 0.0;
  for (Index j = 0; j < sum.size(); ++j) {
    excess += (difference.col(j).array().square() / (sum.array() + sum[j])).sum();
  }
  return 0.5 * excess;
}

// Leaves out what a proximal step would send to zero: singular values that are only nearly zero
// become exact zeros. Empty where that is not as good a point.
std::optional<CertifiedPoint> without_vanishing(const BlockLoss& loss, const Iterate& iterate,
                                                double tol) {
  const Matrix kept = surviving_directions(loss, iterate);
  Matrix left = iterate.left * kept;
  remove_column_means(loss.problem(), left);
  const Matrix right = iterate.right * kept;
  Monitor quiet;
  Point point;
  multiply(left, Transpose::no, right, Transpose::yes, point.m, quiet);
  point.bias = iterate.point.bias;
  const double nuclear_norm = 0.5 * (left.squaredNorm() + right.squaredNorm());
  const double wanted = std::max(std::min(2.0 * iterate.relative_gap, tol), 1e-3 * tol);
  CertifiedPoint clean = certify_best(loss, std::move(point), nuclear_norm, wanted, false, quiet);
  if (clean.certificate.relative_gap > wanted) {
    return std::nullopt;
  }
  constexpr double noticeable = 1e-9;
  if (loss.problem().lambda_z * factors_excess(left, right) >
      noticeable * clean.certificate.primal) {
    use_exact_norm(loss.problem(), clean);
  }
  return clean;
}

CertifiedPoint best_certified(const BlockLoss& loss, Iterate& iterate,
                              const SolveOptions& options) {
  Monitor quiet;  // a certificate is owed even after a stop request
  if (!iterate.point.m.allFinite() || !iterate.point.bias.allFinite()) {
    // Lambdas at the edge of double precision: what can still be certified is Z = 0.
    iterate.point.m.setZero();
    iterate.point.bias.setZero();
    iterate.nuclear_norm = 0.0;
    iterate.reason = Status::numerical_error;
  }
  remove_column_means(loss.problem(), iterate.point.m);
  if (loss.problem().has_bias()) {
    BiasPenalty(loss.problem()).centre(iterate.point.bias);
  }
  if (iterate.no_direction_vanishes) {
    return certify_best(loss, std::move(iterate.point), iterate.nuclear_norm, options.tol, false,
                        quiet);
  }
  if (iterate.left.size() > 0 && loss.problem().size() <= small_problem &&
      iterate.relative_gap <= options.tol) {
    std::optional<CertifiedPoint> clean = without_vanishing(loss, iterate, options.tol);
    if (clean) {
      return *std::move(clean);
    }
  }
  CertifiedPoint best = certify_best(loss, std::move(iterate.point), iterate.nuclear_norm,
                                     options.tol, loss.problem().size() <= small_problem, quiet);
  const Index size = loss.problem().size();
  if (size <= small_problem ||
      (size <= dense_limit &&
       best.certificate.relative_gap > std::min(options.tol, factors_are_tight))) {
    use_exact_norm(loss.problem(), best);
  }
  if (size <= small_problem) {
    CertifiedPoint clean = proximal_cleanup(loss, best, options.tol);
    if (clean.certificate.relative_gap <=
        std::max(best.certificate.relative_gap, 1e-3 * options.tol)) {
      best = std::move(clean);
    }
  }
  return best;
}

// What a method's outcome amounts to, from its certified point.
ReducedSolution conclude(const Problem& problem, CertifiedPoint best, const Iterate& iterate,
                         const SolveOptions& options) {
  ReducedSolution solution;
  solution.amplitudes = best.state.take_amplitudes(problem);
  solution.nuclear_norm = best.nuclear_norm + best.state.amplitude_norm;
  solution.certificate = std::move(best.certificate);
  solution.point = std::move(best.point);
  solution.iterations = iterate.iterations;
  solution.inner_iterations = iterate.inner_iterations;
  solution.certificate_seconds = iterate.certificate_seconds;
  solution.num_nodes = iterate.num_nodes;
  solution.rank = iterate.rank;
  solution.status =
      solution.certificate.relative_gap <= options.tol ? Status::converged : iterate.reason;
  return solution;
}

ReducedSolution finish(const BlockLoss& loss, Iterate iterate, const SolveOptions& options) {
  double seconds = 0.0;
  CertifiedPoint best;
  {
    const Stopwatch stopwatch(seconds);
    best = best_certified(loss, iterate, options);
  }
  iterate.certificate_seconds += seconds;
  return conclude(loss.problem(), std::move(best), iterate, options);
}

// From this many clusters on, the nodes are so much fewer than the clusters that trying them first
// pays even where a threshold lies among the counts.
constexpr Index worth_reducing = 128;

ReducedSolution run_factored(const BlockLoss& loss, const FactoredStart& start,
                             const ContinuumResult& before, const SolveOptions& options,
                             Monitor& monitor) {
  SolveOptions rest = options;
  rest.max_iterations = remaining_iterations(options, before.iterations);
  Iterate iterate = solve_factored(loss, start, rest, monitor);
  iterate.iterations += before.iterations;
  iterate.inner_iterations += before.inner_iterations;
  iterate.certificate_seconds += before.certificate_seconds;
  return finish(loss, std::move(iterate), options);
}

// Goes on from what the nodes told with the factored method, which may be stopped before it gets
// anywhere near.
ReducedSolution finish_reduced(const BlockLoss& loss, ContinuumResult& reduced,
                               const SolveOptions& options, Monitor& monitor) {
  const double gap = reduced.best.certificate.relative_gap;
  try {
    // Only kept off zero, which is stationary: the point is already nearly optimal.
    const FactoredStart start = start_from(reduced.best.point, 1e-12, monitor);
    ReducedSolution solution = run_factored(loss, start, reduced, options, monitor);
    solution.method = "continuum, factored";
    if (solution.certificate.relative_gap <= gap) {
      return solution;
    }
    reduced.reason = solution.status;
  } catch (const StopRequest& stop) {
    reduced.reason = status_of(stop);
  }
  ReducedSolution solution = conclude(loss.problem(), std::move(reduced.best), reduced, options);
  solution.method = "continuum";
  return solution;
}

// The factored method in arrays of fixed size; empty where it does not apply or not suffice.
std::optional<ReducedSolution> try_few_clusters(const BlockLoss& loss, const SolveOptions& options,
                                                Monitor& monitor) {
  const Index size = loss.problem().size();
  if (size < 3 || size > few_clusters || options.max_iterations > 0 || options.start ||
      !loss.problem().is_plain()) {
    return std::nullopt;
  }
  std::optional<Iterate> iterate = solve_few_clusters(loss, monitor);
  if (!iterate) {
    return std::nullopt;
  }
  iterate->relative_gap = 1e-3 * options.tol;  // what is left after the last step is rounding
  ReducedSolution solution = finish(loss, *std::move(iterate), options);
  if (solution.status != Status::converged) {
    return std::nullopt;
  }
  solution.method = "factored";
  return solution;
}

ReducedSolution run_method(const Problem& problem, bool reducible, const SolveOptions& options,
                           Monitor& monitor) {
  const Index size = problem.size();
  if (options.method == Method::proximal) {
    const BlockLoss loss(problem);
    ReducedSolution solution = finish(loss, solve_proximal(loss, options, monitor), options);
    solution.method = "proximal";
    return solution;
  }
  const bool wanted = options.method == Method::continuum ||
                      (options.method == Method::automatic && size >= worth_reducing);
  ContinuumResult reduced;
  if (wanted && reducible) {
    reduced = solve_continuum(problem, options, monitor);
  }
  const double gap = reduced.found ? reduced.best.certificate.relative_gap : 0.0;
  ReducedSolution solution;
  const bool stopped = reduced.reason == Status::time_limit ||
                       reduced.reason == Status::interrupted ||
                       !may_iterate(options, reduced.iterations);
  if (reduced.found && (gap <= options.tol || stopped || size > factored_limit)) {
    solution = conclude(problem, std::move(reduced.best), reduced, options);
    solution.structured = std::move(reduced.structured);
    solution.method = "continuum";
  } else if (reduced.found) {
    if (!reduced.structured.empty()) {
      reduced.best.point.m = reduced.structured.dense();
    }
    const BlockLoss loss(problem);
    solution = finish_reduced(loss, reduced, options, monitor);
  } else {
    const BlockLoss loss(problem);
    if (std::optional<ReducedSolution> few = try_few_clusters(loss, options, monitor)) {
      return *std::move(few);
    }
    const FactoredStart start = first_start(loss, options, monitor);
    solution = run_factored(loss, start, reduced, options, monitor);
    solution.method = "factored";
  }
  return solution;
}

}  // namespace

Status status_of(const StopRequest& request) {
  if (request.reason == StopReason::abandon) {
    throw request;
  }
  return request.reason == StopReason::time_limit ? Status::time_limit : Status::interrupted;
}

Index between_rank(const Problem& problem, const Point& point) {
  Monitor quiet;
  return between_rank(problem, point, quiet);
}

Index between_rank(const Problem& problem, const Point& point, Monitor& monitor) {
  const BlockLoss loss(problem);
  LossState state;
  loss.evaluate(point.m, point.bias, state);
  return proximal_step(loss, point.m, state, monitor).rank;
}

ReducedSolution solve_iteratively(const Problem& problem, const SolveOptions& options,
                                  Monitor& monitor) {
  Iterate iterate;
  try {
    // With a single cluster M is 0 as well: its one entry is a multiple of the all-ones direction.
    bool is_zero = problem.size() == 1;
    const bool reducible = is_reducible(problem);
    const bool large = problem.size() > dense_limit && reducible;
    if (is_zero || (!large && !zero_is_ruled_out(problem))) {
      const BiasOnly zero = bias_only(problem, monitor);
      iterate.point.bias = zero.bias;
      is_zero = is_zero || problem.lambda_z >= zero.lambda_max;
    }
    if (!is_zero) {
      return run_method(problem, reducible, options, monitor);
    }
  } catch (const StopRequest& stop) {
    // Stopped before a method had an iterate of its own: Z = 0 is what there is.
    iterate.reason = status_of(stop);
  }
  if (iterate.point.bias.size() == 0) {
    iterate.point.bias = Vector::Zero(problem.size());
  }
  iterate.point.m = Matrix::Zero(problem.size(), problem.size());
  const BlockLoss loss(problem);
  ReducedSolution solution = finish(loss, std::move(iterate), options);
  solution.method = "closed form";
  return solution;
}

}  // namespace ufm
