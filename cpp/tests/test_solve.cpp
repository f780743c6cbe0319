// The solvers on problems with known answers.
#include "check.hpp"
#include "problems.hpp"
#include "ufm/solve.hpp"

namespace ufm {
namespace {

ReducedSolution solve_by(const Problem& problem, Method method, double tol = 1e-9) {
  Monitor quiet;
  SolveOptions options;
  options.tol = tol;
  options.method = method;
  return solve(problem, options, quiet);
}

}  // namespace

UFM_TEST(minority_experiment_has_the_known_objectives) {
  const double known[][2] = {{.0027, 1.4476487715},
                             {.0033, 1.6204672721},
                             {.0039, 1.7487329035},
                             {.0051, 1.9412208896},
                             {.0075, 2.1086694991}};
  for (const auto& row : known) {
    for (const Method method : {Method::factored, Method::proximal}) {
      const ReducedSolution solution = solve_by(testing::minority_problem(row[0]), method);
      EXPECT(solution.status == Status::converged);
      EXPECT_NEAR(solution.certificate.primal, row[1], 2e-9);
    }
  }
}

UFM_TEST(minority_collapses_exactly_at_its_threshold) {
  const double threshold = std::sqrt(100.0) / 3000.0;
  const ReducedSolution below =
      solve_by(testing::minority_problem(0.999 * threshold), Method::factored);
  const ReducedSolution above =
      solve_by(testing::minority_problem(1.001 * threshold), Method::factored);
  EXPECT(below.amplitudes[1] > 0.0);
  EXPECT(above.amplitudes[1] == 0.0);
}

UFM_TEST(methods_agree_with_every_option_switched_on) {
  const Problem problem = testing::general_problem();
  const ReducedSolution factored = solve_by(problem, Method::factored);
  const ReducedSolution proximal = solve_by(problem, Method::proximal);
  EXPECT(factored.status == Status::converged);
  EXPECT(proximal.status == Status::converged);
  EXPECT_NEAR(factored.certificate.primal, proximal.certificate.primal, 1e-8);
  EXPECT(factored.certificate.dual <= proximal.certificate.primal + 1e-15);
}

UFM_TEST(objectives_are_exact_at_loose_tolerances) {
  Problem problem;
  problem.count = (Vector(2) << 36.7, 4.96).finished();
  problem.multiplicity = Vector::Constant(2, 2.0);
  problem.loss_weight = (Vector(2) << 0.013, 0.295).finished();
  problem.smoothing = 0.07;
  problem.lambda_z = 2.6e-7;
  problem.lambda_b = 5.0;
  for (const Method method : {Method::factored, Method::proximal}) {
    for (const double tol : {1e-2, 3e-4, 1e-8}) {
      const ReducedSolution solution = solve_by(problem, method, tol);
      LossState state;
      BlockLoss(problem).evaluate(solution.point.m, solution.point.bias, state);
      const double exact =
          primal_value(problem, state, solution.point.bias, nuclear_norm(solution.point.m));
      EXPECT_NEAR(solution.certificate.primal, exact, 2e-9 * exact);
    }
  }
}

UFM_TEST(invalid_problems_are_refused) {
  Problem negative = testing::minority_problem(0.001);
  negative.count[0] = -1.0;
  Problem too_short = testing::minority_problem(0.001);
  too_short.scale = Vector::Ones(1);
  for (const Problem& problem : {negative, too_short}) {
    bool refused = false;
    try {
      solve_by(problem, Method::factored);
    } catch (const std::invalid_argument&) {
      refused = true;
    }
    EXPECT(refused);
  }
}

UFM_TEST(scales_of_one_and_offsets_of_zero_need_not_be_written_out) {
  Problem written_out = testing::minority_problem(0.0027);
  written_out.smoothing = 0.05;
  Problem empty = written_out;
  written_out.scale = Vector::Ones(2);
  written_out.offset = Vector::Zero(2);
  for (const Method method : {Method::factored, Method::proximal}) {
    const ReducedSolution a = solve_by(written_out, method);
    const ReducedSolution b = solve_by(empty, method);
    EXPECT(a.status == Status::converged);
    EXPECT_NEAR(a.certificate.primal, b.certificate.primal, 1e-13);
    EXPECT_NEAR(a.certificate.dual, b.certificate.dual, 1e-13);
  }
}

UFM_TEST(a_stop_request_returns_a_certified_iterate) {
  class Impatient final : public Monitor {
   public:
    StopReason poll() override { return ++calls_ > 3 ? StopReason::time_limit : StopReason::none; }

   private:
    int calls_ = 0;
  };
  Impatient monitor;
  SolveOptions options;
  options.tol = 1e-12;
  const ReducedSolution solution = solve(testing::minority_problem(0.0027), options, monitor);
  EXPECT(solution.status == Status::time_limit || solution.status == Status::converged);
  EXPECT(std::isfinite(solution.certificate.primal));
  EXPECT(solution.certificate.dual <= solution.certificate.primal);
}

UFM_TEST(a_stop_request_ends_a_certificate_that_follows_another) {
  // Asks to stop some time after the first attempt of the continuum method was certified.
  class Patient final : public Monitor {
   public:
    StopReason poll() override {
      if (!certified_ || ++after_certificate_ < 40) {
        return StopReason::none;
      }
      ++refusals;
      return StopReason::time_limit;
    }
    void report(int, double, double relative_gap) override {
      certified_ = certified_ || std::isfinite(relative_gap);
    }
    int refusals = 0;

   private:
    bool certified_ = false;
    int after_certificate_ = 0;
  };
  constexpr Index clusters = 1600;
  Problem problem;
  problem.count = Vector::LinSpaced(clusters, std::log(1e5), std::log(1e3)).array().exp();
  problem.loss_weight = problem.count / problem.count.sum();
  problem.multiplicity = Vector::Ones(clusters);
  problem.lambda_z = 2.0 * std::sqrt(1e3) / problem.count.sum();
  Patient monitor;
  SolveOptions options;
  options.tol = 1e-12;
  options.method = Method::continuum;
  const ReducedSolution solution = solve(problem, options, monitor);
  EXPECT(solution.status == Status::time_limit);
  EXPECT(std::isfinite(solution.certificate.relative_gap));
  EXPECT(monitor.refusals > 0 && monitor.refusals < 4);
}

}  // namespace ufm
