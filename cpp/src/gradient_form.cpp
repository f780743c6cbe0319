#include "ufm/gradient_form.hpp"

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>
#include <limits>

#include "ufm/linalg.hpp"

namespace ufm {
namespace {

constexpr double epsilon = std::numeric_limits<double>::epsilon();

// Factors for the rows and columns of a matrix whose j-th row in each half is coupled to that in
// the other half by 1: no diagonal entry gets larger than about 1, and both of a pair get the same
// size.
Vector balanced_pairs(const Vector& diagonal) {
  const Index rank = diagonal.size() / 2;
  const Eigen::ArrayXd first = diagonal.head(rank).array().max(1e-300);
  const Eigen::ArrayXd second = diagonal.tail(rank).array().max(1e-300);
  const Eigen::ArrayXd ratio = (second / first).sqrt().sqrt();
  const Eigen::ArrayXd shrink = (first.sqrt() * second.sqrt()).max(1.0).rsqrt();
  Vector factors(2 * rank);
  factors << shrink * ratio, shrink / ratio;
  return factors;
}

// Whether ||diag(D) + P Q^T||_2 < sigma. With W = [Q, D P] and T = [[P^T P, I], [I, 0]],
// G^T G = D^2 + W T W^T, so that sigma^2 - G^T G is positive definite if and only if
// T^-1 - W^T (sigma^2 - D^2)^-1 W has as many negative eigenvalues as T^-1: half of them.
bool is_norm_below(const GradientForm& form, double sigma) {
  const Index rank = form.left.cols();
  // In units of sigma.
  const Vector diagonal = form.diagonal / sigma;
  const Vector gap = 1.0 - diagonal.array().square();
  if (!(gap.minCoeff() > 0.0)) {
    return false;
  }
  const Vector root = gap.cwiseInverse().cwiseSqrt();
  Matrix w(diagonal.size(), 2 * rank);
  w << (root / sigma).asDiagonal() * form.right,
      root.cwiseProduct(diagonal).asDiagonal() * form.left;
  Matrix gram;
  gram_lower(w, gram);
  Matrix inertia = -gram;
  // T^-1 = [[0, I], [I, -P^T P]]; only the lower triangle is referred to.
  Matrix inner;
  gram_lower(form.left, inner);
  inertia.bottomLeftCorner(rank, rank).diagonal().array() += 1.0;
  inertia.bottomRightCorner(rank, rank).triangularView<Eigen::Lower>() -= inner;
  const Vector scaling = balanced_pairs(inertia.diagonal().cwiseAbs());
  inertia = scaling.asDiagonal() * inertia * scaling.asDiagonal();
  const Eigen::SelfAdjointEigenSolver<Matrix> eigen(inertia, Eigen::EigenvaluesOnly);
  if (eigen.info() != Eigen::Success) {
    return false;
  }
  const Vector& values = eigen.eigenvalues();
  const double noise = static_cast<double>(4 * rank) * epsilon * values.cwiseAbs().maxCoeff();
  return (values.array() < -noise).count() == rank && (values.array() > noise).count() == rank;
}

double lanczos_estimate(const GradientForm& form, Monitor& monitor) {
  LinearOperator products;
  products.rows = form.diagonal.size();
  products.cols = form.diagonal.size();
  products.apply = [&form](const Vector& v) {
    return Vector(form.diagonal.cwiseProduct(v) + form.left * (form.right.transpose() * v));
  };
  products.apply_transpose = [&form](const Vector& u) {
    return Vector(form.diagonal.cwiseProduct(u) + form.right * (form.left.transpose() * u));
  };
  return lanczos_norm(products, monitor).estimate;
}

}  // namespace

NormBound norm_bound(const GradientForm& form, double allowed, double accuracy, Monitor& monitor) {
  const double largest = form.diagonal.cwiseAbs().maxCoeff();
  const double least = std::max(accuracy, 1e-11);
  NormBound bound;
  const auto proved = [&](double base, double excess) {
    monitor.check();
    const double sigma = base * (1.0 + excess);
    if (!is_norm_below(form, sigma)) {
      return false;
    }
    bound.estimate = base;
    bound.upper = sigma * (1.0 + 1e-12) + form.remainder;
    return true;
  };
  const auto prove = [&](double base, double up_to) {
    double excess = least;
    while (!proved(base, excess)) {
      excess *= 10.0;
      if (excess > up_to) {
        return false;
      }
    }
    // More than wanted: two halvings between the last two, on the scale of logarithms.
    double step = std::sqrt(10.0);
    for (int halving = 0; halving < 2 && excess > 10.0 * least; ++halving) {
      if (proved(base, excess / step)) {
        excess /= step;
      }
      step = std::sqrt(step);
    }
    return true;
  };
  // At an optimum the norm is the allowed one, and no estimate of it is needed.
  const double expected = std::max(allowed, largest);
  if (prove(expected, 100.0 * least)) {
    return bound;
  }
  const double estimated = std::max(lanczos_estimate(form, monitor), expected);
  if (prove(estimated, 10.0)) {
    return bound;
  }
  bound.estimate = estimated;
  bound.upper = largest + form.left.norm() * form.right.norm() + form.remainder;
  return bound;
}

}  // namespace ufm
