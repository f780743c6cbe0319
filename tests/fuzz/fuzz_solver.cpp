// Fuzz target: any bytes as a problem, solved, and the solution held to what it promises.
//
// Built as a libFuzzer program (UFM_BUILD_FUZZERS, needs clang) and, with replay.cpp, as a plain
// program that runs the kept inputs.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <stdexcept>
#include <vector>

#include "dense_objective.hpp"
#include "fuzz_input.hpp"
#include "ufm/batch.hpp"
#include "ufm/solve.hpp"

namespace ufm::fuzz {
namespace {

[[noreturn]] void fail(const char* what, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: broken: %s\n", file, line, what);
  std::abort();
}

#define UFM_PROMISE(condition) \
  ((condition) ? static_cast<void>(0) : fail(#condition, __FILE__, __LINE__))

// Asks to stop at a given call.
class StoppingMonitor final : public Monitor {
 public:
  StoppingMonitor(int calls, StopReason reason) : calls_(calls), reason_(reason) {}

  StopReason poll() override {
    if (calls_ == 0) {
      asked_ = true;
      return reason_;
    }
    --calls_;
    return StopReason::none;
  }
  bool asked() const { return asked_; }

 private:
  int calls_;
  StopReason reason_;
  bool asked_ = false;
};

struct Input {
  Vector counts;
  Vector class_weights;
  LossShape shape;
  double lambda_z = 0.0;
  double lambda_b = 0.0;
  SolveOptions options;
  int polls = 0;
  StopReason reason = StopReason::none;
  bool with_start = false;
  bool with_batch = false;
  int batch_threads = 1;
  bool ordinary = true;
};

void append(Vector& values, double value, bool wanted) {
  if (wanted) {
    values.conservativeResize(values.size() + 1);
    values[values.size() - 1] = value;
  }
}

Input read(Bytes bytes) {
  Input input;
  const int groups = 1 + bytes.below(6);
  constexpr Method methods[] = {Method::automatic, Method::proximal, Method::factored,
                                Method::continuum};
  input.options.method = methods[bytes.below(4)];
  input.options.max_iterations = 1 + bytes.below(64);
  const int polls = bytes.byte();
  // Most solves are not stopped.
  input.polls = polls < 64 ? polls : -1;
  constexpr StopReason reasons[] = {StopReason::interrupted, StopReason::time_limit,
                                    StopReason::abandon};
  input.reason = reasons[polls % 3];
  const int parts = bytes.byte();
  input.with_start = parts & 1;
  input.with_batch = parts & 2;
  // Threads take longer to start than most problems to solve.
  input.batch_threads = (parts & 0xc0) == 0xc0 ? 2 : 1;
  input.options.tol = bytes.real(1e-12, 1e-2);
  input.lambda_z = bytes.real(1e-7, 10.0);
  const int penalty = bytes.below(8);
  // Unregularised, or no bias at all, or the usual one.
  input.lambda_b = penalty == 0   ? 0.0
                   : penalty == 1 ? std::numeric_limits<double>::infinity()
                                  : bytes.real(1e-6, 10.0);
  if (parts & 4) {
    input.shape.smoothing = bytes.real(1e-3, 0.5);
  }
  for (int group = 0; group < groups; ++group) {
    const double count = bytes.real(1.0, 1e5);
    const double weight = parts & 8 ? bytes.real(1e-2, 1e2) : 1.0;
    const double scale = parts & 16 ? bytes.real(0.1, 10.0) : 1.0;
    const double offset = parts & 32 ? std::log(bytes.real(1e-3, 1e3)) : 0.0;
    const int classes = bytes.byte();
    const int repeats = classes < 250 ? 1 + classes % 5 : 1 + classes;
    for (int copy = 0; copy < repeats; ++copy) {
      append(input.counts, count, true);
      append(input.class_weights, weight, parts & 8);
      append(input.shape.scale, scale, parts & 16);
      append(input.shape.offset, offset, parts & 32);
    }
  }
  input.ordinary = bytes.ordinary();
  return input;
}

void check(const Problem& problem, const SolveOptions& options, const ReducedSolution& solution,
           bool stopped, bool ordinary) {
  const Certificate& certificate = solution.certificate;
  const double gap = certificate.relative_gap;
  const Index size = problem.size();
  UFM_PROMISE(solution.amplitudes.size() == size && solution.point.bias.size() == size);
  UFM_PROMISE(solution.point.m.rows() == size && solution.point.m.cols() == size);
  UFM_PROMISE(gap >= 0.0);  // and no NaN
  UFM_PROMISE((solution.status == Status::converged) == (gap <= options.tol));
  const bool says_stopped =
      solution.status == Status::time_limit || solution.status == Status::interrupted;
  UFM_PROMISE(!says_stopped || stopped);
  UFM_PROMISE(solution.iterations >= 0 && solution.iterations <= options.max_iterations);
  UFM_PROMISE(solution.rank >= -1 && solution.rank <= std::llround(problem.num_classes()));
  if (std::isfinite(gap)) {
    const double primal = certificate.primal;
    UFM_PROMISE(certificate.dual <= primal + 1e-10 * std::abs(primal));
    UFM_PROMISE(solution.amplitudes.allFinite() && solution.amplitudes.minCoeff() >= 0.0);
    UFM_PROMISE(solution.point.m.allFinite() && solution.point.bias.allFinite());
  }
  if (!ordinary) {
    return;
  }
  UFM_PROMISE(std::isfinite(gap));
  if (problem.num_classes() > 12.0) {
    return;
  }
  const double exact = dense_objective(problem, solution, 1.0);
  if (std::getenv("UFM_FUZZ_VERBOSE")) {
    std::fprintf(stderr, "%s: primal %.17g, exactly %.17g, dual %.17g, gap %.3g\n",
                 solution.method.c_str(), certificate.primal, exact, certificate.dual, gap);
  }
  UFM_PROMISE(std::abs(exact - certificate.primal) <= 2e-9 * std::abs(exact) + 1e-300);
  // The dual value is below the objective everywhere.
  for (const double share : {0.0, 0.99}) {
    const double there = dense_objective(problem, solution, share);
    UFM_PROMISE(certificate.dual <= there * (1.0 + 1e-9));
  }
}

void check_batch(const Input& input, const ReducedSolution& alone) {
  const Index sizes[] = {input.counts.size(), input.counts.size()};
  const Index starts[] = {0, 0};
  const double lambda_z[] = {input.lambda_z, input.lambda_z};
  const double lambda_b[] = {input.lambda_b, input.lambda_b};
  BatchInput batch;
  batch.size = 2;
  batch.num_classes = sizes;
  batch.counts = {input.counts.data(), starts};
  batch.class_weights = {input.class_weights.size() ? input.class_weights.data() : nullptr, starts};
  batch.lambda_z = lambda_z;
  batch.lambda_b = lambda_b;
  Monitor quiet;
  const BatchResult result = solve_batch(batch, input.options, input.batch_threads, quiet);
  for (const std::size_t i : {0u, 1u}) {
    const auto same = [](double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); };
    UFM_PROMISE(same(result.objective[i], alone.certificate.primal));
    UFM_PROMISE(result.relative_gap[i] == alone.certificate.relative_gap);
    UFM_PROMISE(result.status[i] == static_cast<std::int8_t>(alone.status));
  }
}

void print(const Problem& problem, const SolveOptions& options) {
  std::fprintf(stderr, "lambda_z %.17g, lambda_b %.17g, smoothing %.17g, tol %.17g, method %d\n",
               problem.lambda_z, problem.lambda_b, problem.smoothing, options.tol,
               static_cast<int>(options.method));
  for (Index i = 0; i < problem.size(); ++i) {
    std::fprintf(stderr, "%g classes: count %.17g, weight %.17g, scale %.17g, offset %.17g\n",
                 problem.multiplicity[i], problem.count[i], problem.loss_weight[i],
                 problem.scale_of(i), problem.offset_of(i));
  }
}

void solve_input(const Input& input) {
  // The package's own checks of the tolerance and the lambdas come before the core's.
  if (!(std::isnormal(input.options.tol) && input.options.tol > 0.0)) {
    throw std::invalid_argument("tol");
  }
  Grouping grouping;
  const Problem problem = make_problem(input.counts, input.class_weights, input.lambda_z,
                                       input.lambda_b, input.shape, grouping);
  if (std::getenv("UFM_FUZZ_VERBOSE")) {
    print(problem, input.options);
  }
  UFM_PROMISE(problem.multiplicity.sum() == static_cast<double>(input.counts.size()));
  StoppingMonitor monitor(input.polls, input.reason);
  const ReducedSolution solution = solve(problem, input.options, monitor);
  check(problem, input.options, solution, monitor.asked(), input.ordinary);
  if (input.with_start && !monitor.asked() && solution.point.m.allFinite()) {
    NearbySolution start{solution.point, Vector(problem.size())};
    for (Index i = 0; i < problem.size(); ++i) {
      start.threshold_ratio[i] = problem.threshold_ratio(i);
    }
    Problem near_by = problem;
    near_by.lambda_z *= 1.25;
    validate(near_by);
    SolveOptions options = input.options;
    options.start = &start;
    Monitor quiet;
    check(near_by, options, solve(near_by, options, quiet), false, input.ordinary);
  }
  const bool plain =
      !input.shape.scale.size() && !input.shape.offset.size() && input.shape.smoothing == 0.0;
  if (input.with_batch && plain && !monitor.asked() && input.polls < 0) {
    check_batch(input, solution);
  }
}

}  // namespace
}  // namespace ufm::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ufm::fuzz::Input input = ufm::fuzz::read(ufm::fuzz::Bytes(data, size));
  try {
    ufm::fuzz::solve_input(input);
  } catch (const std::invalid_argument&) {
    // What is not allowed is refused, but only that.
    if (input.ordinary) {
      ufm::fuzz::fail("an allowed problem was refused", __FILE__, __LINE__);
    }
  } catch (const ufm::StopRequest& stop) {
    if (stop.reason != ufm::StopReason::abandon) {
      ufm::fuzz::fail("a stop request came out", __FILE__, __LINE__);
    }
  }
  return 0;
}
