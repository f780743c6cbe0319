#include <cmath>
#include <limits>

#include "ufm/bias.hpp"
#include "ufm/solve.hpp"

namespace ufm {

FactoredStart balanced_start(const BlockLoss& loss, Monitor& monitor) {
  const Problem& problem = loss.problem();
  const Index size = problem.size();
  const double num_classes = problem.num_classes();
  // Each class gets the size it would have if all classes had its count. Classes that would be
  // zero start small but not at zero, which is a stationary point of the factored form.
  Vector root(size);
  for (Index i = 0; i < size; ++i) {
    const double theta = problem.threshold_ratio(i);
    const double balanced = theta < 1.0 ? std::log1p(num_classes * (1.0 / theta - 1.0)) : 0.0;
    root[i] = std::sqrt(std::max(balanced, 0.01) * std::sqrt(problem.count[i]) / problem.scale[i]);
  }
  const Vector direction = (problem.multiplicity / num_classes).cwiseSqrt();
  FactoredStart start;
  start.right = root.asDiagonal();
  start.left = start.right;
  start.left.noalias() -= direction * direction.cwiseProduct(root).transpose();
  start.bias = Vector::Zero(size);
  const Matrix m = start.left * start.right.transpose();
  LossState state;
  minimise_bias(loss, m, start.bias, state, monitor, 1e-3);
  return start;
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
