#include <algorithm>
#include <cmath>
#include <limits>

#include "ufm/bias.hpp"
#include "ufm/solve.hpp"

namespace ufm {
namespace {

// Probability of each class under the best bias alone, per cluster. Each Newton step costs C: the
// Hessian is diagonal plus rank one.
Vector bias_only_prediction(const Problem& problem) {
  const Vector& k = problem.multiplicity;
  const double total = k.dot(problem.loss_weight);
  if (!problem.has_bias()) {
    return Vector::Constant(problem.size(), 1.0 / k.sum());
  }
  if (problem.lambda_b == 0.0) {
    return problem.loss_weight / total;
  }
  Vector b = Vector::Zero(problem.size());
  Vector p(problem.size());
  const auto value = [&](const Vector& at) {
    const double top = at.maxCoeff();
    p = (at.array() - top).exp();
    const double sum = k.dot(p);
    p /= sum;
    return total * (top + std::log(sum)) - k.cwiseProduct(problem.loss_weight).dot(at) +
           0.5 * problem.lambda_b * k.dot(at.cwiseAbs2());
  };
  double current = value(b);
  for (int iteration = 0; iteration < 100; ++iteration) {
    const Vector gradient = total * p - problem.loss_weight + problem.lambda_b * b;
    // Solve (diag(h) - total p (k o p)^T) s = -gradient by Sherman and Morrison.
    const Vector inverse = (problem.lambda_b + total * p.array()).inverse();
    const Vector kp = k.cwiseProduct(p);
    const Vector plain = inverse.cwiseProduct(gradient);
    const Vector shifted = total * inverse.cwiseProduct(p);
    const double denominator = std::max(1.0 - kp.dot(shifted), 1e-14);
    const Vector step = -(plain + shifted * (kp.dot(plain) / denominator));
    const double slope = k.cwiseProduct(gradient).dot(step);
    double length = 1.0;
    double next = value(b + step);
    while (next > current + 1e-4 * length * slope && length > 1e-8) {
      length *= 0.5;
      next = value(b + length * step);
    }
    b += length * step;
    const double decrease = current - next;
    current = next;
    if (decrease <= 1e-15 * std::abs(current)) {
      break;
    }
  }
  return p;
}

// The solution that each class would have if all classes had its threshold ratio. Classes that
// would be zero start small but not at zero, which is a stationary point of the factored form.
FactoredStart balanced_factors(const Problem& problem, const Vector& threshold_ratio) {
  const double num_classes = problem.num_classes();
  Vector root(problem.size());
  for (Index i = 0; i < problem.size(); ++i) {
    const double theta = threshold_ratio[i];
    const double balanced = theta < 1.0 ? std::log1p(num_classes * (1.0 / theta - 1.0)) : 0.0;
    root[i] =
        std::sqrt(std::max(balanced, 0.01) * std::sqrt(problem.count[i]) / problem.scale_of(i));
  }
  const Vector direction = (problem.multiplicity / num_classes).cwiseSqrt();
  FactoredStart start;
  start.right = root.asDiagonal();
  start.left = start.right;
  start.left.noalias() -= direction * direction.cwiseProduct(root).transpose();
  return start;
}

}  // namespace

FactoredStart balanced_start(const BlockLoss& loss, Monitor& monitor) {
  const Problem& problem = loss.problem();
  FactoredStart start = balanced_factors(problem, problem.threshold_ratios(0, problem.size()));
  start.bias = Vector::Zero(problem.size());
  const Matrix m = start.left * start.right.transpose();
  LossState state;
  minimise_bias(loss, m, start.bias, state, monitor, 1e-3);
  return start;
}

FactoredStart start_from(const Point& point, double floor, Monitor& monitor) {
  const Svd svd = thin_svd(point.m, monitor);
  const Vector root = svd.values.cwiseMax(floor * svd.values[0]).cwiseSqrt();
  // Turned so that the right factor is symmetric: column i of the factors then belongs to cluster
  // i, which is what the preconditioner of the factored method is made for.
  const Matrix turned = root.asDiagonal() * svd.right.transpose();
  return {svd.left * turned, svd.right * turned, point.bias};
}

FactoredStart first_start(const BlockLoss& loss, const SolveOptions& options, Monitor& monitor) {
  if (!options.start) {
    return balanced_start(loss, monitor);
  }
  // The change of the balanced solution predicts most of the change of the solution.
  const Problem& problem = loss.problem();
  const FactoredStart before = balanced_factors(problem, options.start->threshold_ratio);
  const FactoredStart now = balanced_factors(problem, problem.threshold_ratios(0, problem.size()));
  Point predicted = options.start->point;
  predicted.m += now.left * now.right.transpose() - before.left * before.right.transpose();
  if (!problem.has_bias()) {
    predicted.bias.setZero();
  }
  // Vanishing columns would be stationary, and tiny ones take long to grow where they are needed.
  constexpr double able_to_grow = 1e-3;
  return start_from(predicted, able_to_grow, monitor);
}

// Whether some column of the gradient at Z = 0 is longer than lambda_z whatever the best bias is.
// The bias has zero mean and raises classes above the average weight only, so that its prediction
// p_i lies below the larger of 1 / K and the class's share of the weight; the column's norm is at
// least (1 - p_i) times its weight.
bool is_ruled_out_at_once(const Problem& problem) {
  const double total = problem.multiplicity.dot(problem.loss_weight);
  const double average = 1.0 / problem.num_classes();
  const Eigen::ArrayXd largest = (problem.loss_weight.array() / total).cwiseMax(average);
  const Eigen::ArrayXd norm =
      (1.0 - largest) * problem.loss_weight.array() * problem.count.array().rsqrt();
  return problem.lambda_z < 0.999 * norm.maxCoeff();
}

bool zero_is_ruled_out(const Problem& problem) {
  if (!problem.is_plain()) {
    return false;
  }
  if (is_ruled_out_at_once(problem)) {
    return true;
  }
  const Vector p = bias_only_prediction(problem);
  const double square = p.cwiseAbs2().dot(problem.multiplicity);
  for (Index i = 0; i < problem.size(); ++i) {
    // Squared norm of p - e_i.
    const double column = std::max(square - 2.0 * p[i] + 1.0, 0.0);
    const double norm = std::sqrt(column) * problem.loss_weight[i] / std::sqrt(problem.count[i]);
    if (problem.lambda_z < 0.999 * norm) {
      return true;
    }
  }
  return false;
}

BiasOnly bias_only(const Problem& problem, Monitor& monitor) {
  // With an enormous lambda_z every amplitude is eliminated to zero.
  Problem without_amplitudes = problem;
  without_amplitudes.lambda_z = 1e300;
  const BlockLoss loss(without_amplitudes);
  BiasOnly result;
  result.bias = Vector::Zero(problem.size());
  LossState state;
  const Matrix zero = Matrix::Zero(problem.size(), problem.size());
  minimise_bias(loss, zero, result.bias, state, monitor);
  Matrix gradient;
  Vector bias_gradient;
  loss.gradient(state, gradient, bias_gradient);
  result.lambda_max =
      std::max(operator_norm(gradient, monitor).upper, loss.amplitude_gradient(state).maxCoeff());
  return result;
}

}  // namespace ufm
