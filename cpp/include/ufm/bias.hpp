// Exact minimisation over the bias alone, for a fixed mean prediction matrix.
#pragma once

#include "ufm/loss.hpp"
#include "ufm/monitor.hpp"

namespace ufm {

// (lambda_b / 2) ||bias||^2. The loss is flat along one direction, which shifts all logits alike;
// the optimum has none of it. Methods keep their steps off it: where the bias is not regularised,
// rounding would let it drift away.
class BiasPenalty {
 public:
  explicit BiasPenalty(const Problem& problem);

  double value(const Vector& bias) const;
  void add_gradient(const Vector& bias, Vector& gradient) const;
  void add_diagonal(Vector& diagonal) const;
  // Removes the flat direction's part.
  void centre(Eigen::Ref<Vector> bias) const;

 private:
  double lambda_b_;
  Vector flat_direction_;  // of unit length
};

// Minimises F(m, bias) + (lambda_b / 2) ||bias||^2 over the scaled bias, to rounding, starting
// from the bias given. Does nothing when the problem has no bias. state is that of the result.
void minimise_bias(const BlockLoss& loss, const Matrix& m, Vector& bias, LossState& state,
                   Monitor& monitor, double relative_accuracy = 1e-30);

}  // namespace ufm
