// Problems of one or two clusters, which are solved without an iteration over M.
#include <cmath>
#include <utility>

#include "ufm/solve.hpp"
#include "ufm/two_clusters.hpp"

namespace ufm {
namespace {

std::optional<Iterate> find_optimum(const Problem& problem, const SolveOptions& options) {
  if (problem.size() == 2) {
    return solve_two_clusters(problem, options.max_iterations > 0 ? options.max_iterations : 60);
  }
  // The one entry of M is a multiple of the all-ones direction, and the bias has zero mean.
  Iterate iterate;
  iterate.point = {Matrix::Zero(1, 1), Vector::Zero(1)};
  return iterate;
}

Index count_rank(const Problem& problem, const ReducedSolution& solution) {
  // The columns of M are multiples of one vector.
  double rank = solution.point.m.isZero(0.0) ? 0.0 : 1.0;
  for (Index i = 0; i < problem.size(); ++i) {
    if (solution.amplitudes[i] > 0.0) {
      rank += problem.multiplicity[i] - 1.0;
    }
  }
  return static_cast<Index>(std::llround(rank));
}

}  // namespace

std::optional<ReducedSolution> solve_directly(const BlockLoss& loss, const SolveOptions& options) {
  const Problem& problem = loss.problem();
  if (options.method != Method::automatic || problem.size() > 2 || problem.smoothing != 0.0 ||
      (problem.scale.array() != 1.0).any() || (problem.offset.array() != 0.0).any()) {
    return std::nullopt;
  }
  std::optional<Iterate> iterate = find_optimum(problem, options);
  if (!iterate) {
    return std::nullopt;
  }
  LossState state;
  loss.evaluate(iterate->point.m, iterate->point.bias, state);
  Monitor quiet;
  ReducedSolution solution;
  solution.certificate = certify(loss, state, iterate->point.bias, iterate->nuclear_norm, quiet);
  solution.amplitudes = loss.amplitudes(state);
  solution.nuclear_norm = iterate->nuclear_norm + state.amplitude_norm;
  solution.point = std::move(iterate->point);
  solution.iterations = iterate->iterations;
  solution.rank = count_rank(problem, solution);
  solution.status = solution.certificate.relative_gap <= options.tol ? Status::converged
                                                                     : Status::numerical_error;
  solution.method = iterate->nuclear_norm > 0.0 ? "two clusters" : "closed form";
  return solution;
}

ReducedSolution solve(const Problem& problem, const SolveOptions& options, Monitor& monitor) {
  validate(problem);
  const BlockLoss loss(problem);
  std::optional<ReducedSolution> direct = solve_directly(loss, options);
  if (direct && direct->status == Status::converged) {
    return *std::move(direct);
  }
  ReducedSolution solution = solve_iteratively(loss, options, monitor);
  if (direct && direct->certificate.relative_gap < solution.certificate.relative_gap) {
    direct->status = solution.status;
    return *std::move(direct);
  }
  return solution;
}

}  // namespace ufm
