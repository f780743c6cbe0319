// Singular-value thresholding, the nuclear norm and a rigorous bound of the operator norm.
#pragma once

#include <functional>

#include "ufm/linalg.hpp"
#include "ufm/monitor.hpp"
#include "ufm/types.hpp"

namespace ufm {

struct ThresholdedMatrix {
  Matrix value;
  double nuclear_norm = 0.0;  // of value
  Index rank = 0;             // of value
};

// Proximal operator of tau ||.||_*: shrinks every singular value by tau, to zero at the least.
ThresholdedMatrix svt(const Matrix& a, double tau);
ThresholdedMatrix svt(const Matrix& a, double tau, Monitor& monitor);

double nuclear_norm(const Matrix& a);
double nuclear_norm(const Matrix& a, Monitor& monitor);

struct NormBound {
  double estimate = 0.0;  // a lower bound, accurate to several digits
  double upper = 0.0;     // an upper bound up to rounding, proved by a Cholesky factorisation
  Vector left;            // approximate singular vectors that belong to the estimate
  Vector right;
};

// A matrix known by its products with vectors.
struct LinearOperator {
  Index rows = 0;
  Index cols = 0;
  std::function<Vector(const Vector&)> apply;
  std::function<Vector(const Vector&)> apply_transpose;
};

// Lower bound of the operator norm and its singular vectors; upper is not set.
NormBound lanczos_norm(const LinearOperator& a, Monitor& monitor);

// Bounds ||a||_2 without a singular value decomposition: a Lanczos estimate theta, then the
// smallest sigma >= theta of a short list for which sigma^2 I - a^T a has a Cholesky factorisation.
NormBound operator_norm(const Matrix& a, Monitor& monitor);

}  // namespace ufm
