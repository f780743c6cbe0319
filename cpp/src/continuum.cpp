// The continuum method: solve a few nodes, interpolate to all clusters, certify the exact problem,
// refine until the certificate is good enough.
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "ufm/linalg.hpp"
#include "ufm/reduction.hpp"
#include "ufm/solve.hpp"
#include "ufm/stopwatch.hpp"
#include "ufm/structured.hpp"

namespace ufm {
namespace {

// Whole matrices of fewer clusters are certified as fast, and to the last digit.
constexpr Index worth_smoothing = 256;

constexpr ReductionOptions refinements[] = {{8, 2.7, 4.0, 16.0, 8},
                                            {12, 1.5, 4.0, 24.0, 12},
                                            {16, 1.0, 8.0, 48.0, 16},
                                            {20, 0.7, 12.0, 96.0, 20}};

// What the clusters next to a threshold add to the relative gap falls like one over the number of
// clusters, so that the first attempt spends fewer nodes on them where the tolerance allows. Both
// bounds were measured on geometric, even and Zipf counts of 300 to 100,000 clusters.
ReductionOptions first_refinement(const Problem& problem, double tol) {
  constexpr double without_short_panels = 0.08;
  constexpr double fewer_nodes = 2e-4;
  ReductionOptions options = refinements[0];
  const double tolerance_times_clusters = tol * static_cast<double>(problem.size());
  if (tolerance_times_clusters >= without_short_panels) {
    options.kept_mass = 2.0;
    options.short_mass = 0.0;
  } else if (tolerance_times_clusters >= fewer_nodes) {
    options.kept_mass = 2.0;
    options.short_mass = 8.0;
    options.short_nodes = 4;
  }
  return options;
}

// The nuclear norm of the expanded matrix, exactly where that is cheap.
double expanded_nuclear_norm(const Problem& problem, const Reduction& reduction,
                             const StructuredMatrix& m, const Matrix& dense, Monitor& monitor) {
  const bool few_nodes = 8 * m.left.cols() < m.diagonal.size() && m.diagonal.size() > 256;
  return few_nodes ? nuclear_norm_bound(problem, reduction, m, accurate_power, monitor)
                   : nuclear_norm(dense, monitor);
}

// Shows the progress of the nodes' solve without its gap, which is not that of the problem itself.
class NodesMonitor final : public Monitor {
 public:
  NodesMonitor(Monitor& other, int before) : other_(other), before_(before) {}
  StopReason poll() override { return other_.poll(); }
  void report(int iteration, double objective, double /*relative_gap*/) override {
    other_.report(before_ + iteration, objective, std::numeric_limits<double>::quiet_NaN());
  }

 private:
  Monitor& other_;
  int before_;
};

// Passes on only the request to abandon: what was solved is worth certifying after a time limit.
class AbandonOnly final : public Monitor {
 public:
  explicit AbandonOnly(Monitor& other) : other_(other) {}
  StopReason poll() override {
    const StopReason reason = other_.poll();
    return reason == StopReason::abandon ? reason : StopReason::none;
  }

 private:
  Monitor& other_;
};

// One refinement: solve the nodes, expand, certify.
class Attempt {
 public:
  Attempt(const Problem& problem, const SolveOptions& options, Monitor& monitor)
      : problem_(problem), options_(options), monitor_(monitor), coarse_options_(options) {
    coarse_options_.method = Method::factored;
    coarse_options_.start = nullptr;
    coarse_options_.tol = std::max(1e-2 * options.tol, 1e-12);
  }

  // With an earlier result to fall back on, a stop ends the certificate too; nothing is found then.
  ContinuumResult run(Reduction& reduction, int iterations_before, bool has_earlier) {
    NodesMonitor nodes(monitor_, iterations_before);
    coarse_options_.max_iterations = remaining_iterations(options_, iterations_before);
    const ReducedSolution coarse = solve(reduction.problem, coarse_options_, nodes);
    const bool stopped =
        coarse.status == Status::time_limit || coarse.status == Status::interrupted;
    ContinuumResult result;
    result.reason = stopped ? coarse.status : Status::max_iterations;
    result.iterations = coarse.iterations;
    result.inner_iterations = coarse.inner_iterations;
    result.num_nodes = reduction.problem.size();
    // A node with k classes stands for k - 1 differences between them.
    result.rank = between_rank(reduction.problem, coarse.point) +
                  reduction.problem.within_rank(coarse.amplitudes);
    AbandonOnly patient(monitor_);
    try {
      const Stopwatch stopwatch(result.certificate_seconds);
      certify_exact_problem(reduction, coarse, has_earlier ? monitor_ : patient, result);
      result.found = true;
    } catch (const StopRequest& stop) {
      if (!has_earlier) {
        throw;
      }
      result.reason = status_of(stop);
    }
    return result;
  }

 private:
  void certify_exact_problem(Reduction& reduction, const ReducedSolution& coarse, Monitor& monitor,
                             ContinuumResult& result) const {
    const BlockLoss loss(problem_);
    reduction.fill_interpolation(problem_);
    const ContinuumPoint point = expand(reduction, coarse);
    certify(loss, reduction, point, monitor, result);
    // The memory that the certificate took is given back at its expense.
    reduction.drop_interpolation();
    result.best.state.drop_columns();
  }

  // In linear time where that is enough, else by whole matrices or by a visit to all of them.
  void certify(const BlockLoss& loss, const Reduction& reduction, const ContinuumPoint& point,
               Monitor& monitor, ContinuumResult& result) const {
    const bool dense = problem_.size() <= dense_limit;
    if (problem_.size() >= worth_smoothing) {
      std::optional<CertifiedPoint> smooth =
          certify_smooth(loss, reduction, point, options_.tol, monitor);
      if (smooth && (!dense || smooth->certificate.relative_gap <= options_.tol)) {
        result.best = *std::move(smooth);
        result.structured = point.m;
        return;
      }
    }
    if (dense) {
      Matrix m = point.m.dense();
      const double norm = expanded_nuclear_norm(problem_, reduction, point.m, m, monitor);
      result.best =
          certify_best(loss, {std::move(m), point.bias}, norm, options_.tol, false, monitor);
    } else {
      result.best = certify_visiting(loss, reduction, point, monitor);
      result.structured = point.m;
    }
  }

  // Nodes stopped far from their optimum can lead to amplitudes beyond double precision; then Z = 0
  // is what is certified.
  ContinuumPoint expand(const Reduction& reduction, const ReducedSolution& coarse) const {
    ContinuumPoint point = expand_solution(problem_, reduction, coarse.point, coarse.amplitudes);
    const StructuredMatrix& m = point.m;
    if (!m.diagonal.allFinite() || !m.left.allFinite() || !m.right.allFinite() ||
        !point.bias.allFinite()) {
      const Point zero{Matrix::Zero(reduction.problem.size(), reduction.problem.size()),
                       Vector::Zero(reduction.problem.size())};
      point = expand_solution(problem_, reduction, zero, Vector::Zero(reduction.problem.size()));
      point.m.diagonal.setZero();
      point.m.left.setZero();
    }
    return point;
  }

  const Problem& problem_;
  const SolveOptions& options_;
  Monitor& monitor_;
  SolveOptions coarse_options_;
};

}  // namespace

ContinuumResult solve_continuum(const Problem& problem, const SolveOptions& options,
                                Monitor& monitor) {
  Attempt attempt(problem, options, monitor);
  ContinuumResult best;
  Status reason = Status::max_iterations;
  int iterations = 0;
  int inner_iterations = 0;
  double certificate_seconds = 0.0;
  for (const ReductionOptions& refinement : refinements) {
    if (!may_iterate(options, iterations)) {
      break;
    }
    const bool first = &refinement == &refinements[0];
    Reduction reduction =
        reduce(problem, first ? first_refinement(problem, options.tol) : refinement);
    if (3 * reduction.problem.size() > 2 * problem.size()) {
      break;  // hardly smaller than the problem itself
    }
    ContinuumResult result;
    try {
      result = attempt.run(reduction, iterations, best.found);
    } catch (const StopRequest& stop) {
      if (!best.found) {
        throw;
      }
      reason = status_of(stop);
      break;
    }
    reason = result.reason;
    iterations += result.iterations;
    inner_iterations += result.inner_iterations;
    certificate_seconds += result.certificate_seconds;
    if (!result.found) {
      break;
    }
    const Certificate& certificate = result.best.certificate;
    monitor.report(iterations, certificate.primal, certificate.relative_gap);
    if (!best.found || certificate.relative_gap < best.best.certificate.relative_gap) {
      best = std::move(result);
    }
    if (best.best.certificate.relative_gap <= options.tol || reason != Status::max_iterations) {
      break;
    }
  }
  best.iterations = iterations;
  best.inner_iterations = inner_iterations;
  best.certificate_seconds = certificate_seconds;
  best.reason = reason;
  return best;
}

}  // namespace ufm
