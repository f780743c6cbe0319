// Gradients and Hessian products against finite differences; the amplitudes' equation.
#include "check.hpp"
#include "problems.hpp"
#include "ufm/loss.hpp"

namespace ufm {
namespace {

Matrix sample_matrix() {
  Matrix m(3, 3);
  m << 30.0, -4.0, 2.0, -11.0, 25.0, -3.0, -9.0, -7.0, 12.0;
  return m;
}

Vector sample_bias() {
  Vector bias(3);
  bias << 0.3, -0.2, 0.1;
  return bias;
}

double value_at(const BlockLoss& loss, const Matrix& m, const Vector& bias) {
  LossState state;
  loss.evaluate(m, bias, state);
  return state.value;
}

}  // namespace

UFM_TEST(gradient_matches_finite_differences) {
  const Problem problem = testing::general_problem();
  const BlockLoss loss(problem);
  const Matrix m = sample_matrix();
  const Vector bias = sample_bias();
  LossState state;
  loss.evaluate(m, bias, state);
  Matrix grad_m;
  Vector grad_bias;
  loss.gradient(state, grad_m, grad_bias);
  const double h = 1e-4;
  for (Index j = 0; j < 3; ++j) {
    for (Index i = 0; i < 3; ++i) {
      Matrix up = m;
      Matrix down = m;
      up(j, i) += h;
      down(j, i) -= h;
      const double slope = (value_at(loss, up, bias) - value_at(loss, down, bias)) / (2.0 * h);
      EXPECT_NEAR(grad_m(j, i), slope, 1e-10);
    }
    Vector up = bias;
    Vector down = bias;
    up[j] += h;
    down[j] -= h;
    const double slope = (value_at(loss, m, up) - value_at(loss, m, down)) / (2.0 * h);
    EXPECT_NEAR(grad_bias[j], slope, 1e-9);
  }
}

UFM_TEST(hessian_product_matches_differences_of_gradients) {
  const Problem problem = testing::general_problem();
  const BlockLoss loss(problem);
  const Matrix m = sample_matrix();
  const Vector bias = sample_bias();
  Matrix dm(3, 3);
  dm << 1.0, -2.0, 0.5, 0.3, 1.1, -0.7, -0.2, 0.9, 1.4;
  const Vector dbias = (Vector(3) << 0.02, 0.05, -0.03).finished();
  LossState state;
  loss.evaluate(m, bias, state);
  Matrix product_m;
  Vector product_bias;
  loss.hessian_product(state, dm, dbias, product_m, product_bias);
  const double h = 1e-4;
  Matrix up_m;
  Matrix down_m;
  Vector up_bias;
  Vector down_bias;
  LossState other;
  loss.evaluate(m + h * dm, bias + h * dbias, other);
  loss.gradient(other, up_m, up_bias);
  loss.evaluate(m - h * dm, bias - h * dbias, other);
  loss.gradient(other, down_m, down_bias);
  EXPECT_NEAR((product_m - (up_m - down_m) / (2.0 * h)).norm(), 0.0, 1e-9 * product_m.norm());
  EXPECT_NEAR((product_bias - (up_bias - down_bias) / (2.0 * h)).norm(), 0.0,
              1e-9 * product_bias.norm());
}

UFM_TEST(eliminated_amplitudes_satisfy_their_equation) {
  const Problem problem = testing::general_problem();
  const BlockLoss loss(problem);
  LossState state;
  loss.evaluate(sample_matrix(), sample_bias(), state);
  const Vector slope = loss.amplitude_gradient(state);
  for (Index i = 0; i < 3; ++i) {
    if (problem.amplitude_active(i)) {
      EXPECT_NEAR(slope[i], problem.lambda_z, 1e-14);
      EXPECT(state.spread[i] > 0.0);
    }
  }
}

UFM_TEST(probabilities_sum_to_one) {
  const Problem problem = testing::general_problem();
  const BlockLoss loss(problem);
  LossState state;
  loss.evaluate(40.0 * sample_matrix(), sample_bias(), state);
  for (Index i = 0; i < 3; ++i) {
    EXPECT_NEAR(state.p_own[i] + state.deficit(i), 1.0, 1e-14);
    EXPECT_NEAR(state.mass.col(i).sum(), state.rest[i], 1e-14);
  }
}

}  // namespace ufm
