// The two-cluster path against the general methods, and batches.
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <vector>

#include "check.hpp"
#include "problems.hpp"
#include "ufm/batch.hpp"
#include "ufm/two_clusters.hpp"

namespace ufm {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

Problem pair_problem(double k1, double n1, double k2, double n2, double lambda_b) {
  Problem problem;
  problem.count = (Vector(2) << n1, n2).finished();
  problem.multiplicity = (Vector(2) << k1, k2).finished();
  problem.loss_weight = problem.count / problem.count.dot(problem.multiplicity);
  problem.lambda_b = lambda_b;
  problem.lambda_z = 1.0;
  return problem;
}

ReducedSolution solve_by(const Problem& problem, Method method) {
  Monitor quiet;
  SolveOptions options;
  options.tol = 1e-10;
  options.method = method;
  return solve(problem, options, quiet);
}

// M problems of K classes whose counts take a few values.
struct Sample {
  Index size = 0;
  std::vector<double> counts;
  std::vector<Index> start;
  std::vector<Index> num_classes;
  std::vector<double> lambda_z;
  std::vector<double> lambda_b;

  explicit Sample(Index problems) : size(problems) {
    for (Index i = 0; i < problems; ++i) {
      start.push_back(static_cast<Index>(counts.size()));
      num_classes.push_back(1 + i % 9);
      double total = 0.0;
      for (Index k = 0; k < num_classes.back(); ++k) {
        counts.push_back(10.0 + static_cast<double>(90 * (k % (1 + i % 4)) + i));
        total += counts.back();
      }
      lambda_z.push_back(0.01 * static_cast<double>(1 + i % 120) * std::sqrt(counts.back()) /
                         total);
      lambda_b.push_back(i % 5 == 0 ? 0.0 : i % 5 == 1 ? infinity : 0.02);
    }
  }

  BatchInput input() const {
    BatchInput result;
    result.size = size;
    result.num_classes = num_classes.data();
    result.counts = {counts.data(), start.data()};
    result.lambda_z = lambda_z.data();
    result.lambda_b = lambda_b.data();
    return result;
  }
};

bool same_bits(const std::vector<double>& a, const std::vector<double>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(double)) == 0;
}

class Stopped final : public Monitor {
 public:
  explicit Stopped(StopReason reason) : reason_(reason) {}
  StopReason poll() override { return reason_; }

 private:
  StopReason reason_;
};

}  // namespace

UFM_TEST(two_clusters_agree_with_the_factored_method) {
  Monitor quiet;
  for (const double k1 : {1.0, 3.0, 2.5, 400.0}) {
    for (const double k2 : {1.0, 7.0}) {
      for (const double n1 : {101.0, 1e3, 1e6}) {
        for (const double lambda_b : {0.0, 1e-6, 0.02, 10.0, infinity}) {
          Problem problem = pair_problem(k1, n1, k2, 100.0, lambda_b);
          problem.loss_weight[1] *= 1.5;
          const double top = bias_only(problem, quiet).lambda_max;
          for (const double factor : {1e-3, 0.03, 0.3, 0.7, 0.99, 1.01}) {
            problem.lambda_z = factor * top;
            EXPECT(solve_two_clusters(problem, 60).has_value());
            const ReducedSolution direct = solve_by(problem, Method::automatic);
            const ReducedSolution factored = solve_by(problem, Method::factored);
            EXPECT(direct.status == Status::converged);
            EXPECT(direct.method == "two clusters" || direct.method == "closed form");
            EXPECT(direct.certificate.relative_gap < 1e-11);
            const double allowed = factored.certificate.relative_gap + 1e-11;
            EXPECT_NEAR(direct.certificate.primal, factored.certificate.primal,
                        allowed * factored.certificate.primal);
            for (Index i = 0; i < 2; ++i) {
              EXPECT((direct.amplitudes[i] > 0.0) == problem.amplitude_active(i));
            }
          }
        }
      }
    }
  }
}

UFM_TEST(two_clusters_have_the_known_objectives) {
  EXPECT_NEAR(solve_by(testing::minority_problem(.0027), Method::automatic).certificate.primal,
              1.4476487715, 1e-10);
  EXPECT_NEAR(solve_by(testing::minority_problem(.0075), Method::automatic).certificate.primal,
              2.1086694991, 1e-10);
}

UFM_TEST(two_cluster_search_respects_its_iteration_limit) {
  EXPECT(!solve_two_clusters(testing::minority_problem(.0027), 1).has_value());
}

UFM_TEST(direct_path_is_left_to_plain_problems) {
  SolveOptions options;
  Problem problem = testing::minority_problem(.0027);
  EXPECT(solve_directly(problem, options).has_value());
  options.method = Method::factored;
  EXPECT(!solve_directly(problem, options).has_value());
  options.method = Method::automatic;
  problem.smoothing = 0.1;
  EXPECT(!solve_directly(problem, options).has_value());
  problem.smoothing = 0.0;
  problem.offset = (Vector(2) << 0.1, 0.0).finished();
  EXPECT(!solve_directly(problem, options).has_value());
  const Problem general = testing::general_problem();
  EXPECT(!solve_directly(general, options).has_value());
}

UFM_TEST(batches_do_not_depend_on_the_number_of_threads) {
  const Sample sample(500);
  Monitor quiet;
  SolveOptions options;
  options.tol = 1e-8;
  const BatchResult one = solve_batch(sample.input(), options, 1, quiet);
  for (const int threads : {2, 4, 1000}) {
    const BatchResult many = solve_batch(sample.input(), options, threads, quiet);
    EXPECT(same_bits(one.objective, many.objective));
    EXPECT(same_bits(one.dual_objective, many.dual_objective));
    EXPECT(same_bits(one.points, many.points));
    EXPECT(one.status == many.status);
    EXPECT(one.rank == many.rank);
    EXPECT(one.method == many.method);
    EXPECT(one.method_names == many.method_names);
    EXPECT(one.point_start == many.point_start);
  }
}

UFM_TEST(batches_hold_what_solve_returns) {
  const Sample sample(100);
  Monitor quiet;
  SolveOptions options;
  const BatchResult batch = solve_batch(sample.input(), options, 2, quiet);
  for (std::size_t i = 0; i < 100; ++i) {
    const Vector counts =
        Eigen::Map<const Vector>(sample.counts.data() + sample.start[i], sample.num_classes[i]);
    Grouping grouping;
    const Problem problem =
        make_problem(counts, Vector(), sample.lambda_z[i], sample.lambda_b[i], {}, grouping);
    const ReducedSolution solution = solve(problem, options, quiet);
    EXPECT(batch.objective[i] == solution.certificate.primal);
    EXPECT(batch.status[i] == static_cast<std::int8_t>(solution.status));
    EXPECT(batch.num_clusters[i] == problem.size());
    EXPECT(batch.points[static_cast<std::size_t>(batch.point_start[i])] == solution.point.m(0, 0));
  }
}

UFM_TEST(an_empty_batch_is_empty) {
  Monitor quiet;
  EXPECT(solve_batch(BatchInput(), SolveOptions(), 2, quiet).objective.empty());
}

UFM_TEST(a_batch_can_be_abandoned) {
  // Enough work for the calling thread to be asked before it is done.
  const Sample sample(40000);
  Stopped monitor(StopReason::abandon);
  SolveOptions options;
  options.tol = 1e-300;
  bool thrown = false;
  try {
    solve_batch(sample.input(), options, 2, monitor);
  } catch (const StopRequest& stop) {
    thrown = stop.reason == StopReason::abandon;
  }
  EXPECT(thrown);
}

UFM_TEST(a_time_limit_leaves_the_trivial_certificate) {
  const Sample sample(40000);
  Stopped monitor(StopReason::time_limit);
  SolveOptions options;
  options.tol = 1e-300;
  const BatchResult batch = solve_batch(sample.input(), options, 2, monitor);
  std::size_t untouched = 0;
  for (std::size_t i = 0; i < batch.objective.size(); ++i) {
    EXPECT(batch.dual_objective[i] <= batch.objective[i] * (1.0 + 1e-12));
    if (batch.num_clusters[i] == 0 && sample.num_classes[i] > 1) {
      ++untouched;
      EXPECT(batch.relative_gap[i] == 1.0);
      EXPECT(batch.status[i] == static_cast<std::int8_t>(Status::time_limit));
      EXPECT_NEAR(batch.objective[i], std::log(static_cast<double>(sample.num_classes[i])), 1e-12);
    }
  }
  EXPECT(untouched > 0);
}

UFM_TEST(a_problem_that_is_not_allowed_is_refused_in_a_batch) {
  Sample sample(20);
  sample.counts[7] = -1.0;
  Monitor quiet;
  bool refused = false;
  try {
    solve_batch(sample.input(), SolveOptions(), 2, quiet);
  } catch (const std::invalid_argument&) {
    refused = true;
  }
  EXPECT(refused);
}

}  // namespace ufm
