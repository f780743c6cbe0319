#include "ufm/solve.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "ufm/bias.hpp"

namespace ufm {
namespace {

struct CertifiedPoint {
  Point point;
  double nuclear_norm = 0.0;  // of M
  LossState state;
  Certificate certificate;
};

// The certificate at a point, or at the best bias for its M if that is better. Both are needed: a
// bias a little off its optimum costs much when lambda_b is tiny, while moving it disturbs a dual
// point that was already good.
CertifiedPoint certify_iterate(const BlockLoss& loss, Point point, double nuclear_norm,
                               double tol) {
  Monitor quiet;  // a certificate is owed even after a stop request
  CertifiedPoint given;
  given.point = std::move(point);
  given.nuclear_norm = nuclear_norm;
  loss.evaluate(given.point.m, given.point.bias, given.state);
  given.certificate = certify(loss, given.state, given.point.bias, nuclear_norm, quiet);
  const bool small = loss.problem().size() <= small_problem;
  if (!loss.problem().has_bias() || (!small && given.certificate.relative_gap <= tol)) {
    return given;
  }
  CertifiedPoint best = given;
  minimise_bias(loss, best.point.m, best.point.bias, best.state, quiet);
  best.certificate = certify(loss, best.state, best.point.bias, nuclear_norm, quiet);
  const bool better = best.certificate.relative_gap <= given.certificate.relative_gap;
  return better ? best : given;
}

// One proximal step, which turns singular values that are only nearly zero into exact zeros. At
// the optimum it changes nothing, whatever its length.
ThresholdedMatrix proximal_step(const BlockLoss& loss, const Matrix& m, const LossState& state) {
  const Problem& problem = loss.problem();
  const double curvature =
      0.5 * (problem.scale.array().square() * problem.loss_weight.array() / problem.count.array())
                .maxCoeff();
  Matrix gradient;
  Vector bias_gradient;
  loss.gradient(state, gradient, bias_gradient);
  return svt(m - gradient / curvature, problem.lambda_z / curvature);
}

CertifiedPoint proximal_cleanup(const BlockLoss& loss, const CertifiedPoint& from, double tol) {
  ThresholdedMatrix shrunk = proximal_step(loss, from.point.m, from.state);
  return certify_iterate(loss, {std::move(shrunk.value), from.point.bias}, shrunk.nuclear_norm,
                         tol);
}

ReducedSolution finish(const BlockLoss& loss, Iterate iterate, const SolveOptions& options) {
  CertifiedPoint best =
      certify_iterate(loss, std::move(iterate.point), iterate.nuclear_norm, options.tol);
  if (loss.problem().size() <= small_problem && best.point.m.allFinite()) {
    best.nuclear_norm = nuclear_norm(best.point.m);
    best.certificate.primal =
        primal_value(loss.problem(), best.state, best.point.bias, best.nuclear_norm);
    best.certificate.relative_gap = relative_gap(best.certificate.primal, best.certificate.dual);
    CertifiedPoint clean = proximal_cleanup(loss, best, options.tol);
    if (clean.certificate.relative_gap <=
        std::max(best.certificate.relative_gap, 1e-3 * options.tol)) {
      best = std::move(clean);
    }
  }
  const Problem& problem = loss.problem();
  ReducedSolution solution;
  solution.amplitudes = loss.amplitudes(best.state);
  solution.own_logit.resize(problem.size());
  for (Index i = 0; i < problem.size(); ++i) {
    const double k = problem.multiplicity[i];
    solution.own_logit[i] = (best.point.m(i, i) / k + solution.amplitudes[i] * (1.0 - 1.0 / k)) /
                            std::sqrt(problem.count[i]);
  }
  solution.nuclear_norm = best.nuclear_norm + best.state.amplitude_norm;
  solution.certificate = std::move(best.certificate);
  solution.point = std::move(best.point);
  solution.iterations = iterate.iterations;
  solution.inner_iterations = iterate.inner_iterations;
  solution.status =
      solution.certificate.relative_gap <= options.tol ? Status::converged : iterate.reason;
  return solution;
}

Iterate zero_iterate(const Problem& problem, const Vector& bias) {
  Iterate iterate;
  iterate.point = {Matrix::Zero(problem.size(), problem.size()), bias};
  return iterate;
}

}  // namespace

Status status_of(const StopRequest& request) {
  if (request.reason == StopReason::abandon) {
    throw request;
  }
  return request.reason == StopReason::time_limit ? Status::time_limit : Status::interrupted;
}

Index between_rank(const Problem& problem, const Point& point) {
  const BlockLoss loss(problem);
  LossState state;
  loss.evaluate(point.m, point.bias, state);
  return proximal_step(loss, point.m, state).rank;
}

ReducedSolution solve(const Problem& problem, const SolveOptions& options, Monitor& monitor) {
  validate(problem);
  const BlockLoss loss(problem);
  Iterate iterate = zero_iterate(problem, Vector::Zero(problem.size()));
  std::string method = "closed form";
  try {
    const BiasOnly zero = bias_only(problem, monitor);
    iterate.point.bias = zero.bias;
    // With a single cluster M is 0 as well: its one entry is a multiple of the all-ones direction.
    const bool is_zero = problem.lambda_z >= zero.lambda_max || problem.size() == 1;
    if (!is_zero) {
      const bool proximal = options.method == Method::proximal;
      method = proximal ? "proximal" : "factored";
      iterate = proximal ? solve_proximal(loss, options, monitor)
                         : solve_factored(loss, options, monitor);
    }
  } catch (const StopRequest& stop) {
    // Stopped before the method had an iterate of its own: Z = 0 is what there is.
    iterate.reason = status_of(stop);
  }
  ReducedSolution solution = finish(loss, std::move(iterate), options);
  solution.method = method;
  return solution;
}

}  // namespace ufm
