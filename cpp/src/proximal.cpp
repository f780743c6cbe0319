// Accelerated proximal gradient with singular-value thresholding, local step sizes and adaptive
// restart. Simple and robust: the reference that the other methods are compared with.
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "ufm/linalg.hpp"
#include "ufm/solve.hpp"
#include "ufm/stopwatch.hpp"

namespace ufm {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

struct Evaluation {
  LossState loss;
  Matrix gradient_m;
  Vector gradient_bias;  // bias penalty included
  double value = 0.0;    // smooth part of the objective
};

class ProximalGradient {
 public:
  ProximalGradient(const BlockLoss& loss, const SolveOptions& options, Monitor& monitor)
      : loss_(loss), problem_(loss.problem()), options_(options), monitor_(monitor) {
    // Bounds of the curvature in M and in the bias; their ratio is the metric of the bias.
    curvature_m_ = problem_.curvature_bound();
    if (problem_.has_bias()) {
      const double of_loss = 0.5 * (problem_.all_scales().array().square() *
                                    problem_.loss_weight.array() * problem_.multiplicity.array())
                                       .sum();
      bias_metric_ = (problem_.lambda_b + of_loss) / curvature_m_;
    }
  }

  Iterate run() {
    const int limit = options_.max_iterations > 0 ? options_.max_iterations : 50000;
    Iterate iterate;
    iterate.reason = Status::max_iterations;
    start();  // a stop request here goes to the caller: there is no iterate yet
    try {
      int next_check = 1;
      while (iterate.iterations < limit) {
        monitor_.check();
        step();
        ++iterate.iterations;
        monitor_.report(iterate.iterations, at_next_.value + problem_.lambda_z * nuclear_norm_,
                        best_gap_ < infinity ? best_gap_ : std::nan(""));
        if (iterate.iterations >= next_check || iterate.iterations == limit) {
          next_check = iterate.iterations + std::clamp(iterate.iterations / 10, 5, 100);
          if (certified(iterate.iterations)) {
            break;
          }
        }
      }
    } catch (const StopRequest& stop) {
      iterate.reason = status_of(stop);
    }
    iterate.point = best_gap_ < infinity ? best_ : x_;
    iterate.nuclear_norm = best_gap_ < infinity ? best_nuclear_norm_ : nuclear_norm_;
    iterate.certificate_seconds = certificate_seconds_;
    return iterate;
  }

 private:
  void start() {
    const FactoredStart from = first_start(loss_, options_, monitor_);
    multiply(from.left, Transpose::no, from.right, Transpose::yes, x_.m, monitor_);
    x_.bias = from.bias;
    nuclear_norm_ = ufm::nuclear_norm(x_.m, monitor_);
    old_ = x_;
    // Too long a step is mended by backtracking at once; too short a one costs many iterations.
    inverse_step_ = 1e-2 * curvature_m_;
  }

  void evaluate(const Point& point, Evaluation& at) const {
    loss_.evaluate(point.m, point.bias, at.loss);
    loss_.gradient(at.loss, at.gradient_m, at.gradient_bias);
    at.value = primal_value(problem_, at.loss, point.bias, 0.0);
    if (problem_.has_bias()) {
      at.gradient_bias += problem_.lambda_b * point.bias;
    } else {
      at.gradient_bias.setZero();
    }
  }

  // One accelerated step with a search for the local step length. The momentum weights for
  // changing steps keep the accelerated rate (Scheinberg, Goldfarb and Bai, 2014).
  void step() {
    const double previous = inverse_step_;
    inverse_step_ *= 0.9;
    for (int search = 0; search < 100; ++search) {
      const double ratio = inverse_step_ / previous;
      const double next_momentum =
          0.5 * (1.0 + std::sqrt(1.0 + 4.0 * ratio * momentum_ * momentum_));
      if (try_step((momentum_ - 1.0) / next_momentum)) {
        momentum_ = next_momentum;
        break;
      }
      inverse_step_ *= 2.0;
    }
    const double uphill = (y_.m - next_.m).cwiseProduct(next_.m - x_.m).sum() +
                          bias_metric_ * (y_.bias - next_.bias).dot(next_.bias - x_.bias);
    if (uphill > 0.0) {
      momentum_ = 1.0;
    }
    std::swap(old_, x_);
    std::swap(x_, next_);
    nuclear_norm_ = next_nuclear_norm_;
  }

  // Computes the step from the extrapolated point; false if it is too long.
  bool try_step(double extrapolation) {
    y_.m = x_.m + extrapolation * (x_.m - old_.m);
    y_.bias = x_.bias + extrapolation * (x_.bias - old_.bias);
    evaluate(y_, at_y_);
    const double step = 1.0 / inverse_step_;
    ThresholdedMatrix shrunk =
        svt(y_.m - step * at_y_.gradient_m, step * problem_.lambda_z, monitor_);
    next_.m = std::move(shrunk.value);
    next_nuclear_norm_ = shrunk.nuclear_norm;
    next_.bias = y_.bias - (step / bias_metric_) * at_y_.gradient_bias;
    evaluate(next_, at_next_);

    const Matrix dm = next_.m - y_.m;
    const Vector dbias = next_.bias - y_.bias;
    const double square = dm.squaredNorm() + bias_metric_ * dbias.squaredNorm();
    const double bound = 0.5 * inverse_step_ * square;
    if (bound < 1e-11 * std::abs(at_y_.value)) {
      // Differences of values drown in rounding here; gradients still tell the curvature.
      const double change = (at_next_.gradient_m - at_y_.gradient_m).cwiseProduct(dm).sum() +
                            (at_next_.gradient_bias - at_y_.gradient_bias).dot(dbias);
      return change <= 2.0 * bound * (1.0 + 1e-6);
    }
    const double linear =
        at_y_.value + at_y_.gradient_m.cwiseProduct(dm).sum() + at_y_.gradient_bias.dot(dbias);
    return at_next_.value <= linear + bound;
  }

  bool certified(int iteration) {
    const Stopwatch stopwatch(certificate_seconds_);
    LossState state;
    loss_.evaluate(x_.m, x_.bias, state);
    const double gap =
        certify_at_best_bias(loss_, x_.m, x_.bias, state, nuclear_norm_, options_.tol, monitor_)
            .relative_gap;
    if (gap < best_gap_) {
      best_gap_ = gap;
      best_ = x_;
      best_nuclear_norm_ = nuclear_norm_;
    }
    monitor_.report(iteration, primal_value(problem_, state, x_.bias, nuclear_norm_), gap);
    return gap <= options_.tol;
  }

  const BlockLoss& loss_;
  const Problem& problem_;
  const SolveOptions& options_;
  Monitor& monitor_;
  double curvature_m_ = 0.0;
  double bias_metric_ = 1.0;
  Point old_, x_, y_, next_;
  Evaluation at_y_, at_next_;
  double nuclear_norm_ = 0.0;
  double next_nuclear_norm_ = 0.0;
  double momentum_ = 1.0;
  double inverse_step_ = 0.0;
  Point best_;
  double best_nuclear_norm_ = 0.0;
  double best_gap_ = infinity;
  double certificate_seconds_ = 0.0;
};

}  // namespace

Iterate solve_proximal(const BlockLoss& loss, const SolveOptions& options, Monitor& monitor) {
  return ProximalGradient(loss, options, monitor).run();
}

}  // namespace ufm
