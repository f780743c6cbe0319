// Problems of one or two clusters, which are solved without an iteration over M.
#include <utility>

#include "ufm/solve.hpp"
#include "ufm/stopwatch.hpp"
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

}  // namespace

std::optional<ReducedSolution> solve_directly(const Problem& problem, const SolveOptions& options) {
  if (options.method != Method::automatic || problem.size() > 2 || !problem.is_plain()) {
    return std::nullopt;
  }
  std::optional<Iterate> iterate = find_optimum(problem, options);
  if (!iterate) {
    return std::nullopt;
  }
  const BlockLoss loss(problem);
  LossState state;
  loss.evaluate(iterate->point.m, iterate->point.bias, state);
  Monitor quiet;
  ReducedSolution solution;
  {
    const Stopwatch stopwatch(solution.certificate_seconds);
    solution.certificate = certify(loss, state, iterate->point.bias, iterate->nuclear_norm, quiet);
  }
  solution.amplitudes = state.take_amplitudes(problem);
  solution.nuclear_norm = iterate->nuclear_norm + state.amplitude_norm;
  solution.point = std::move(iterate->point);
  solution.iterations = iterate->iterations;
  // The columns of M are multiples of one vector.
  const Index between = solution.point.m.isZero(0.0) ? 0 : 1;
  solution.rank = between + problem.within_rank(solution.amplitudes);
  solution.status = solution.certificate.relative_gap <= options.tol ? Status::converged
                                                                     : Status::numerical_error;
  solution.method = iterate->nuclear_norm > 0.0 ? "two clusters" : "closed form";
  return solution;
}

ReducedSolution solve(const Problem& problem, const SolveOptions& options, Monitor& monitor) {
  validate(problem);
  std::optional<ReducedSolution> direct = solve_directly(problem, options);
  if (direct && direct->status == Status::converged) {
    return *std::move(direct);
  }
  ReducedSolution solution = solve_iteratively(problem, options, monitor);
  if (direct && direct->certificate.relative_gap < solution.certificate.relative_gap) {
    direct->status = solution.status;
    return *std::move(direct);
  }
  return solution;
}

}  // namespace ufm
