// The duality gap. This is the only place that computes one; no solver certifies itself.
#pragma once

#include "ufm/loss.hpp"
#include "ufm/monitor.hpp"
#include "ufm/spectral.hpp"

namespace ufm {

// A point of the reduced problem.
struct Point {
  Matrix m;     // C x C, mean prediction matrix times D^(1/2) in cluster coordinates
  Vector bias;  // sqrt(k_j) b_j
};

struct Certificate {
  double primal = 0.0;
  double dual = 0.0;
  double relative_gap = 0.0;
  double operator_norm = 0.0;  // upper bound of the norm of the loss gradient in X
  NormBound between;           // the between-cluster part of that norm
};

// Certifies the exact problem at a point. nuclear_norm is an upper bound of ||M||_*.
//
// The dual point is P_s = T + s (P - T) with P the softmax of the logits, T the labels and
// s = min(1, lambda_z / ||gradient||_2), which is always feasible. With an unregularised bias the
// dual also demands that P - T balances to zero in every row; what rounding leaves of it is
// charged to the dual value.
Certificate certify(const BlockLoss& loss, const LossState& state, const Vector& bias,
                    double nuclear_norm, Monitor& monitor);

// How far parts of a certificate may be from what they stand for.
struct PartsError {
  // Of probabilities, losses and terms of the bias gradient, as a part of them.
  double relative = 0.0;
  double entropy = 0.0;  // of a column's entropy, for each unit of wrong probability
  // Whether the bias was interpolated, so that its equation is off by more than rounding and worth
  // the sharper of two bounds of what that costs.
  bool interpolated_bias = false;
};

// The same from quantities gathered elsewhere: the bias gradient of the loss alone and an upper
// bound of the norm of the loss gradient between clusters. state.mass is used only when labels are
// smoothed or logits have offsets. What the parts may be off by is charged to the gap.
Certificate certify_from_parts(const BlockLoss& loss, const LossState& state, const Vector& bias,
                               const Vector& bias_gradient, double nuclear_norm, NormBound between,
                               const PartsError& error = {});

// The same as certify, after minimising over the bias where what the bias is short of its optimum
// would cost a noticeable part of the tolerance. state must belong to the point; the point is not
// changed.
Certificate certify_at_best_bias(const BlockLoss& loss, const Matrix& m, const Vector& bias,
                                 const LossState& state, double nuclear_norm, double tol,
                                 Monitor& monitor);

struct CertifiedPoint {
  Point point;
  double nuclear_norm = 0.0;  // upper bound of ||M||_*
  LossState state;
  Certificate certificate;
};

// The certificate at a point, or at the best bias for its M if that is better. Both are needed: a
// bias a little off its optimum costs much when lambda_b is tiny, while moving it disturbs a dual
// point that was already good. The best bias is not looked for where the gap is within tol, unless
// always_polish.
CertifiedPoint certify_best(const BlockLoss& loss, Point point, double nuclear_norm, double tol,
                            bool always_polish, Monitor& monitor);

// (primal - dual) / |primal|, never negative; infinity where the two contradict each other.
double relative_gap(double primal, double dual);

// Value of the objective at a point whose loss state is given.
double primal_value(const Problem& problem, const LossState& state, const Vector& bias,
                    double nuclear_norm);

}  // namespace ufm
