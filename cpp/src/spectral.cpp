#include "ufm/spectral.hpp"

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>
#include <limits>

namespace ufm {
namespace {

constexpr double epsilon = std::numeric_limits<double>::epsilon();

// A fixed start with no special relation to any matrix: results are the same on every run.
Vector start_vector(Index size) {
  Vector v(size);
  double angle = 0.5;
  for (Index i = 0; i < size; ++i) {
    angle = std::fmod(angle + 0.6180339887498949, 1.0);
    v[i] = 0.5 + angle;
    if (i % 2) {
      v[i] = -v[i];
    }
  }
  return v.normalized();
}

void orthogonalise(const Matrix& basis, Index columns, Vector& v) {
  for (int pass = 0; pass < 2; ++pass) {
    const Vector overlap = basis.leftCols(columns).transpose() * v;
    v.noalias() -= basis.leftCols(columns) * overlap;
  }
}

// From the largest eigenvalue of the Gram matrix, which squares the condition of the small singular
// values but not of the largest. Square is a matrix of fixed size where the size is tiny.
template <typename Square>
NormBound small_norm(const Square& a) {
  NormBound bound;
  const double scale = a.cwiseAbs().maxCoeff();  // squares must neither overflow nor vanish
  if (!(scale > 0.0) || !a.allFinite()) {
    bound.estimate = bound.upper = scale > 0.0 ? std::numeric_limits<double>::infinity() : 0.0;
    bound.left = Vector::Zero(a.rows());
    bound.right = Vector::Zero(a.cols());
    return bound;
  }
  const Square scaled = a / scale;
  Square gram;
  if constexpr (Square::SizeAtCompileTime == Eigen::Dynamic) {
    Monitor quiet;
    multiply(scaled, Transpose::yes, scaled, Transpose::no, gram, quiet);
  } else {
    gram = scaled.transpose() * scaled;
  }
  const Eigen::SelfAdjointEigenSolver<Square> eigen(gram);
  bound.right = eigen.eigenvectors().col(a.cols() - 1);
  bound.left = scaled * bound.right;
  const double norm = bound.left.norm();
  bound.left /= norm;
  bound.estimate = scale * norm;
  const double largest = std::sqrt(std::max(eigen.eigenvalues()[a.cols() - 1], 0.0));
  bound.upper = scale * std::max(largest, norm) *
                (1.0 + 4.0 * static_cast<double>(a.rows() + a.cols()) * epsilon);
  return bound;
}

struct SingularPair {
  double value = 0.0;
  Vector left;
  Vector right;
};

// Of the upper bidiagonal matrix B, from the tridiagonal B^T B; scaled so that nothing overflows.
SingularPair largest_of_bidiagonal(const Vector& diagonal, const Vector& above) {
  const Index size = diagonal.size();
  SingularPair pair{0.0, Vector::Zero(size), Vector::Zero(size)};
  const double scale =
      std::max(diagonal.cwiseAbs().maxCoeff(), size > 1 ? above.cwiseAbs().maxCoeff() : 0.0);
  if (!(scale > 0.0)) {
    return pair;
  }
  const Vector d = diagonal / scale;
  const Vector e = above / scale;
  Vector squares = d.cwiseAbs2();
  squares.tail(size - 1) += e.cwiseAbs2();
  Eigen::SelfAdjointEigenSolver<Matrix> eigen;
  eigen.computeFromTridiagonal(squares, d.head(size - 1).cwiseProduct(e));
  pair.right = eigen.eigenvectors().col(size - 1);
  pair.left = d.cwiseProduct(pair.right);
  pair.left.head(size - 1) += e.cwiseProduct(pair.right.tail(size - 1));
  const double norm = pair.left.norm();
  pair.left /= norm;
  pair.value = scale * norm;
  return pair;
}

}  // namespace

// Golub-Kahan-Lanczos bidiagonalisation with full reorthogonalisation.
NormBound lanczos_norm(const LinearOperator& a, Monitor& monitor) {
  const Index steps = std::min<Index>(60, std::min(a.rows, a.cols));
  Matrix left(a.rows, steps);
  Matrix right(a.cols, steps);
  Vector diagonal = Vector::Zero(steps);
  Vector above = Vector::Zero(steps);
  Vector v = start_vector(a.cols);
  NormBound bound;
  Index done = 0;
  double beta = 0.0;
  for (Index j = 0; j < steps; ++j) {
    monitor.check();
    right.col(j) = v;
    Vector u = a.apply(v);
    if (j > 0) {
      u -= beta * left.col(j - 1);
      orthogonalise(left, j, u);
    }
    const double alpha = u.norm();
    diagonal[j] = alpha;
    done = j + 1;
    left.col(j) = alpha > 0.0 ? Vector(u / alpha) : Vector::Zero(a.rows);
    v = a.apply_transpose(left.col(j));
    v -= alpha * right.col(j);
    orthogonalise(right, j + 1, v);
    beta = v.norm();
    const bool last = j + 1 == steps ||
                      !(beta > epsilon * std::hypot(diagonal.norm(), above.norm())) || alpha == 0.0;
    if (last || j % 5 == 4) {
      const SingularPair small = largest_of_bidiagonal(diagonal.head(done), above.head(done - 1));
      bound.estimate = small.value;
      const double residual = beta * std::abs(small.left[done - 1]);
      if (last || residual < 1e-7 * bound.estimate) {
        bound.left = left.leftCols(done) * small.left;
        bound.right = right.leftCols(done) * small.right;
        break;
      }
    }
    v /= beta;
    above[j] = beta;
  }
  return bound;
}

ThresholdedMatrix svt(const Matrix& a, double tau) {
  Monitor quiet;
  return svt(a, tau, quiet);
}

ThresholdedMatrix svt(const Matrix& a, double tau, Monitor& monitor) {
  ThresholdedMatrix result;
  const Svd svd = thin_svd(a, monitor);
  const Vector shrunk = (svd.values.array() - tau).cwiseMax(0.0);
  result.rank = (shrunk.array() > 0.0).count();
  result.nuclear_norm = shrunk.sum();
  result.value.noalias() = svd.left.leftCols(result.rank) * shrunk.head(result.rank).asDiagonal() *
                           svd.right.leftCols(result.rank).transpose();
  return result;
}

double nuclear_norm(const Matrix& a) { return a.size() ? singular_values(a).sum() : 0.0; }

double nuclear_norm(const Matrix& a, Monitor& monitor) {
  return a.size() ? singular_values(a, monitor).sum() : 0.0;
}

NormBound operator_norm(const Matrix& a, Monitor& monitor) {
  if (a.rows() == 3 && a.cols() == 3) {
    return small_norm(Eigen::Matrix3d(a));
  }
  if (a.rows() == 4 && a.cols() == 4) {
    return small_norm(Eigen::Matrix4d(a));
  }
  if (std::min(a.rows(), a.cols()) <= 32) {
    return small_norm(a);
  }
  LinearOperator products;
  products.rows = a.rows();
  products.cols = a.cols();
  products.apply = [&a](const Vector& v) { return Vector(a * v); };
  products.apply_transpose = [&a](const Vector& u) { return Vector(a.transpose() * u); };
  NormBound bound = lanczos_norm(products, monitor);
  if (!(bound.estimate > 0.0)) {
    bound.upper = a.norm();
    return bound;
  }
  Matrix gram;
  gram_lower(a, gram);
  // Rounding in the Gram matrix and the factorisation stays below this fraction of sigma.
  const double margin = 2.0 * static_cast<double>(a.cols()) * epsilon;
  for (double excess : {1e-11, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0}) {
    monitor.check();
    const double sigma = bound.estimate * (1.0 + excess);
    Matrix shifted = -gram;
    shifted.diagonal().array() += sigma * sigma;
    if (is_positive_definite(shifted)) {
      bound.upper = sigma * (1.0 + margin);
      return bound;
    }
  }
  bound.upper = a.norm();
  return bound;
}

}  // namespace ufm
