#include "ufm/linalg.hpp"

#include <Eigen/Cholesky>
#include <Eigen/SVD>
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <utility>
#include <vector>

#include "small_product.hpp"
#include "ufm/abandonable.hpp"
#include "ufm/blas_room.hpp"

namespace ufm {
namespace {

// Written once under the lock, before any solve uses it; read without the lock afterwards.
LapackFunctions lapack;
bool lapack_ready = false;
std::mutex lapack_mutex;

bool use_lapack(Index smallest_side) { return lapack_ready && smallest_side >= lapack_crossover; }

bool fits_int(Index value) { return value <= std::numeric_limits<int>::max(); }

// OpenBLAS multiplies small matrices without a buffer, and middling ones on one thread.
BlasRoom::Uses buffers_of_product(Index rows, Index cols, Index inner) {
  constexpr double large = 1e7;
  const double work =
      static_cast<double>(rows) * static_cast<double>(cols) * static_cast<double>(inner);
  return work > large ? BlasRoom::Uses::one_a_thread : BlasRoom::Uses::none;
}

void gemm(const LapackFunctions& functions, const double* a, Index lda, Transpose op_a,
          const double* b, Index ldb, Transpose op_b, double beta, double* c, Index ldc, Index rows,
          Index cols, Index inner) {
  char ta = op_a == Transpose::yes ? 'T' : 'N';
  char tb = op_b == Transpose::yes ? 'T' : 'N';
  int m = static_cast<int>(rows);
  int n = static_cast<int>(cols);
  int k = static_cast<int>(inner);
  int la = static_cast<int>(lda);
  int lb = static_cast<int>(ldb);
  int lc = static_cast<int>(ldc);
  double one = 1.0;
  const BlasRoom room(buffers_of_product(rows, cols, inner));
  functions.gemm(&ta, &tb, &m, &n, &k, &one, const_cast<double*>(a), &la, const_cast<double*>(b),
                 &lb, &beta, c, &lc);
}

void self_test(const LapackFunctions& functions) {
  if (!functions.gemm || !functions.syrk || !functions.potrf || !functions.gesdd) {
    throw std::runtime_error("a LAPACK function is missing");
  }
  Matrix a(2, 2);
  a << 1.0, 2.0, 3.0, 5.0;
  Matrix product = Matrix::Zero(2, 2);
  gemm(functions, a.data(), 2, Transpose::no, a.data(), 2, Transpose::yes, 0.0, product.data(), 2,
       2, 2, 2);
  int n = 2;
  int info = -1;
  char lower = 'L';
  const BlasRoom room(BlasRoom::Uses::one);
  functions.potrf(&lower, &n, product.data(), &n, &info);
  // a a^T = [[5, 13], [13, 34]], whose Cholesky factor starts with sqrt(5).
  const bool right = info == 0 && std::abs(product(0, 0) - std::sqrt(5.0)) < 1e-14 &&
                     std::abs(product(1, 0) - 13.0 / std::sqrt(5.0)) < 1e-14;
  if (!right) {
    throw std::runtime_error("the LAPACK functions failed their self-test");
  }
}

template <typename A, typename B>
void eigen_multiply(const A& a, const B& b, double beta, Eigen::Ref<Matrix> result) {
  if (beta == 0.0) {
    result.noalias() = a * b;
  } else {
    result *= beta;
    result.noalias() += a * b;
  }
}

void multiply_block(const ConstBlock& a, Transpose op_a, const ConstBlock& b, Transpose op_b,
                    double beta, Block& result, Index first, Index count) {
  const Index inner = op_a == Transpose::yes ? a.rows() : a.cols();
  const double* b_start =
      op_b == Transpose::yes ? b.data() + first : b.data() + first * b.outerStride();
  double* target_start = result.data() + first * result.outerStride();
  if (use_lapack(std::min({result.rows(), count, inner}))) {
    gemm(lapack, a.data(), a.outerStride(), op_a, b_start, b.outerStride(), op_b, beta,
         target_start, result.outerStride(), result.rows(), count, inner);
    return;
  }
  auto target = result.middleCols(first, count);
  constexpr Index small = 256;
  if (std::max({result.rows(), count, inner}) <= small && has_small_product()) {
    const Matrix turned = op_a == Transpose::yes ? Matrix(a.transpose()) : Matrix();
    const ConstBlock left = op_a == Transpose::yes ? ConstBlock(turned) : a;
    const bool plain = op_b == Transpose::no;
    if (beta != 0.0 && beta != 1.0) {
      target *= beta;
    }
    small_product(result.rows(), count, inner, left.data(), left.outerStride(), b_start,
                  plain ? 1 : b.outerStride(), plain ? b.outerStride() : 1, target_start,
                  result.outerStride(), beta != 0.0);
    return;
  }
  if (op_a == Transpose::no && op_b == Transpose::no) {
    eigen_multiply(a, b.middleCols(first, count), beta, target);
  } else if (op_a == Transpose::no) {
    eigen_multiply(a, b.middleRows(first, count).transpose(), beta, target);
  } else if (op_b == Transpose::no) {
    eigen_multiply(a.transpose(), b.middleCols(first, count), beta, target);
  } else {
    eigen_multiply(a.transpose(), b.middleRows(first, count).transpose(), beta, target);
  }
}

// dgesdd with job 'S' (thin) or 'N' (values only).
Svd lapack_svd(Matrix work_matrix, bool vectors) {
  if (!work_matrix.allFinite()) {
    throw std::runtime_error("singular value decomposition of a matrix that is not finite");
  }
  int m = static_cast<int>(work_matrix.rows());
  int n = static_cast<int>(work_matrix.cols());
  int small = std::min(m, n);
  Svd result;
  result.values.resize(small);
  Matrix right_transposed;
  if (vectors) {
    result.left.resize(m, small);
    right_transposed.resize(small, n);
  }
  char job = vectors ? 'S' : 'N';
  int ldu = m;
  int ldv = std::max(small, 1);
  double query = 0.0;
  int lwork = -1;
  int info = 0;
  std::vector<int> integer_work(8 * static_cast<std::size_t>(small));
  double unused = 0.0;
  double* left = vectors ? result.left.data() : &unused;
  double* right = vectors ? right_transposed.data() : &unused;
  lapack.gesdd(&job, &m, &n, work_matrix.data(), &m, result.values.data(), left, &ldu, right, &ldv,
               &query, &lwork, integer_work.data(), &info);
  lwork = static_cast<int>(query) + 1;
  std::vector<double> work(static_cast<std::size_t>(lwork));
  const BlasRoom room(BlasRoom::Uses::one);
  lapack.gesdd(&job, &m, &n, work_matrix.data(), &m, result.values.data(), left, &ldu, right, &ldv,
               work.data(), &lwork, integer_work.data(), &info);
  if (info != 0) {
    throw std::runtime_error("the singular value decomposition did not converge");
  }
  if (vectors) {
    result.right = right_transposed.transpose();
  }
  return result;
}

// Eigen leaves the decomposition of a matrix that is not finite uninitialised.
constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

// Decompositions of smaller matrices take a fraction of a second.
constexpr Index worth_watching = 400;

Svd watched_svd(const Matrix& a, bool vectors, Monitor& monitor) {
  struct Task {
    Matrix matrix;
    Svd result;
  };
  const auto task = std::make_shared<Task>();
  task->matrix = a;
  run_watched([task, vectors] { task->result = lapack_svd(std::move(task->matrix), vectors); },
              monitor);
  return std::move(task->result);
}

bool is_worth_watching(const Matrix& a) {
  const Index smallest = std::min(a.rows(), a.cols());
  return smallest >= worth_watching && use_lapack(smallest);
}

}  // namespace

void set_lapack(const LapackFunctions& functions) {
  self_test(functions);
  const std::lock_guard<std::mutex> lock(lapack_mutex);
  lapack = functions;
  lapack_ready = true;
}

void clear_lapack() {
  const std::lock_guard<std::mutex> lock(lapack_mutex);
  lapack_ready = false;
}

bool has_lapack() { return lapack_ready; }

void multiply_into(const ConstBlock& a, Transpose op_a, const ConstBlock& b, Transpose op_b,
                   double beta, Block result, Monitor& monitor) {
  const Index inner = op_a == Transpose::yes ? a.rows() : a.cols();
  const Index cols = result.cols();
  // About 4e9 operations a piece: a tenth of a second on a desktop core.
  const double per_column = 2.0 * static_cast<double>(result.rows()) * static_cast<double>(inner);
  const Index piece = static_cast<Index>(std::clamp(4e9 / std::max(per_column, 1.0), 64.0, 1e9));
  for (Index first = 0; first < cols; first += piece) {
    if (cols > piece) {
      monitor.check();
    }
    multiply_block(a, op_a, b, op_b, beta, result, first, std::min(piece, cols - first));
  }
}

void multiply(const ConstBlock& a, Transpose op_a, const ConstBlock& b, Transpose op_b,
              Matrix& result, Monitor& monitor) {
  result.resize(op_a == Transpose::yes ? a.cols() : a.rows(),
                op_b == Transpose::yes ? b.rows() : b.cols());
  multiply_into(a, op_a, b, op_b, 0.0, result, monitor);
}

void multiply_by_transpose(const ConstBlock& a, const ConstBlock& b, Block result) {
  const double operations =
      static_cast<double>(a.rows() * a.cols()) * static_cast<double>(b.rows());
  if (lapack_ready && operations > std::pow(static_cast<double>(lapack_crossover), 3)) {
    gemm(lapack, a.data(), a.outerStride(), Transpose::no, b.data(), b.outerStride(),
         Transpose::yes, 0.0, result.data(), result.outerStride(), a.rows(), b.rows(), a.cols());
    return;
  }
  result.noalias() = a * b.transpose();
}

void gram_lower(const Matrix& a, Matrix& result) {
  const Index size = a.cols();
  result.resize(size, size);
  if (use_lapack(std::min(a.rows(), size)) && fits_int(a.rows())) {
    char lower = 'L';
    char transpose = 'T';
    int n = static_cast<int>(size);
    int k = static_cast<int>(a.rows());
    double one = 1.0;
    double zero = 0.0;
    const BlasRoom room(buffers_of_product(size, size, a.rows()));
    lapack.syrk(&lower, &transpose, &n, &k, &one, const_cast<double*>(a.data()), &k, &zero,
                result.data(), &n);
    return;
  }
  result.setZero();
  result.selfadjointView<Eigen::Lower>().rankUpdate(a.transpose());
}

bool is_positive_definite(Matrix& symmetric) {
  if (use_lapack(symmetric.rows())) {
    char lower = 'L';
    int n = static_cast<int>(symmetric.rows());
    int info = 0;
    const BlasRoom room(BlasRoom::Uses::one);
    lapack.potrf(&lower, &n, symmetric.data(), &n, &info);
    return info == 0;
  }
  const Eigen::LLT<Eigen::Ref<Matrix>> factor(symmetric);
  return factor.info() == Eigen::Success;
}

Svd thin_svd(const Matrix& a) {
  if (use_lapack(std::min(a.rows(), a.cols()))) {
    return lapack_svd(a, true);
  }
  if (a.rows() == 1 && a.cols() > 1) {
    // Eigen would refer to an entry of an empty matrix.
    Svd column = thin_svd(a.transpose());
    std::swap(column.left, column.right);
    return column;
  }
  const Eigen::BDCSVD<Matrix> svd(a, Eigen::ComputeThinU | Eigen::ComputeThinV);
  if (svd.info() != Eigen::Success) {
    const Index small = std::min(a.rows(), a.cols());
    return {Matrix::Constant(a.rows(), small, not_a_number), Vector::Constant(small, not_a_number),
            Matrix::Constant(a.cols(), small, not_a_number)};
  }
  return {svd.matrixU(), svd.singularValues(), svd.matrixV()};
}

Svd thin_svd(const Matrix& a, Monitor& monitor) {
  return is_worth_watching(a) ? watched_svd(a, true, monitor) : thin_svd(a);
}

Vector singular_values(const Matrix& a, Monitor& monitor) {
  return is_worth_watching(a) ? watched_svd(a, false, monitor).values : singular_values(a);
}

Vector singular_values(const Matrix& a) {
  if (use_lapack(std::min(a.rows(), a.cols()))) {
    return lapack_svd(a, false).values;
  }
  if (a.rows() == 1) {
    return Vector::Constant(1, a.norm());
  }
  const Eigen::BDCSVD<Matrix> svd(a);
  if (svd.info() != Eigen::Success) {
    return Vector::Constant(std::min(a.rows(), a.cols()), not_a_number);
  }
  return svd.singularValues();
}

}  // namespace ufm
