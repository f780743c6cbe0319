// Thresholding and norms against definitions.
#include <algorithm>

#include "check.hpp"
#include "ufm/spectral.hpp"

namespace ufm {
namespace {

Matrix waves(Index rows, Index cols) {
  Matrix a(rows, cols);
  for (Index j = 0; j < rows; ++j) {
    for (Index i = 0; i < cols; ++i) {
      a(j, i) = std::sin(1.0 + 3.7 * static_cast<double>(j) + 1.3 * static_cast<double>(i * j)) +
                (i == j ? 2.0 : 0.0);
    }
  }
  return a;
}

}  // namespace

UFM_TEST(nothing_is_made_up_for_a_matrix_that_is_not_finite) {
  for (const Index size : {Index{3}, Index{20}}) {
    Matrix a = Matrix::Ones(size, size);
    a(0, 0) = std::numeric_limits<double>::infinity();
    EXPECT(std::isnan(singular_values(a)[0]));
    const Svd svd = thin_svd(a);
    EXPECT(svd.left.array().isNaN().all() && svd.values.array().isNaN().all());
  }
}

UFM_TEST(svt_is_the_proximal_point) {
  const Matrix a = waves(7, 5);
  const double tau = 1.5;
  const ThresholdedMatrix result = svt(a, tau);
  // Optimality: (a - y) / tau is a subgradient of the nuclear norm at y.
  const Matrix subgradient = (a - result.value) / tau;
  EXPECT(singular_values(subgradient)[0] <= 1.0 + 1e-12);
  EXPECT_NEAR(subgradient.cwiseProduct(result.value).sum(), nuclear_norm(result.value), 1e-11);
  EXPECT_NEAR(result.nuclear_norm, nuclear_norm(result.value), 1e-11);
  EXPECT(result.rank == (singular_values(a).array() > tau).count());
}

// Sanitizers watch over these: Eigen by itself has undefined behaviour at a single long row.
UFM_TEST(svt_of_rows_and_columns_is_shrinking) {
  for (const Index size : {2, 15, 16, 40, 47}) {
    const Matrix row = waves(1, size);
    const double norm = row.norm();
    const ThresholdedMatrix result = svt(row, 0.25 * norm);
    EXPECT_NEAR((result.value - 0.75 * row).norm(), 0.0, 1e-13 * norm);
    EXPECT_NEAR((svt(row.transpose(), 0.25 * norm).value - result.value.transpose()).norm(), 0.0,
                1e-13 * norm);
    EXPECT_NEAR(singular_values(row)[0], norm, 1e-13 * norm);
    EXPECT_NEAR(nuclear_norm(waves(2, size)), nuclear_norm(waves(2, size).transpose()), 1e-12);
    EXPECT(svt(waves(3, size), 0.0).rank == std::min<Index>(3, size));
  }
}

UFM_TEST(operator_norm_is_bracketed) {
  Monitor quiet;
  for (const Index size : {1, 5, 24, 25, 60, 130}) {
    const Matrix a = waves(size, size);
    const double exact = singular_values(a)[0];
    const NormBound bound = operator_norm(a, quiet);
    EXPECT(bound.estimate <= exact * (1.0 + 1e-13));
    EXPECT(bound.upper >= exact * (1.0 - 1e-15));
    EXPECT_NEAR(bound.upper, exact, 1e-7 * exact);
    EXPECT_NEAR(bound.left.dot(a * bound.right), exact, 1e-6 * exact);
  }
}

UFM_TEST(operator_norm_of_zero_is_zero) {
  Monitor quiet;
  EXPECT_NEAR(operator_norm(Matrix::Zero(3, 3), quiet).upper, 0.0, 0.0);
  EXPECT_NEAR(operator_norm(Matrix::Zero(40, 40), quiet).upper, 0.0, 0.0);
}

UFM_TEST(products_agree_with_definitions) {
  Monitor quiet;
  const Matrix a = waves(6, 4);
  const Matrix b = waves(6, 5);
  Matrix result;
  multiply(a, Transpose::yes, b, Transpose::no, result, quiet);
  EXPECT_NEAR((result - a.transpose() * b).norm(), 0.0, 1e-13);
  multiply(a, Transpose::no, a, Transpose::yes, result, quiet);
  EXPECT_NEAR((result - a * a.transpose()).norm(), 0.0, 1e-12);
  multiply_into(a, Transpose::no, a, Transpose::yes, -1.0, result, quiet);
  EXPECT_NEAR(result.norm(), 0.0, 1e-12);
}

UFM_TEST(products_of_all_small_shapes_agree_with_definitions) {
  Monitor quiet;
  for (Index rows = 1; rows <= 21; rows += 4) {
    for (Index cols = 1; cols <= 15; ++cols) {
      for (Index inner = 1; inner <= 9; inner += 2) {
        const Matrix a = waves(rows, inner);
        const Matrix b = waves(inner, cols);
        const Matrix a_turned = a.transpose();
        const Matrix b_turned = b.transpose();
        const Matrix expected = a.lazyProduct(b);
        Matrix result;
        multiply(a, Transpose::no, b, Transpose::no, result, quiet);
        EXPECT_NEAR((result - expected).norm(), 0.0, 1e-12);
        multiply(a_turned, Transpose::yes, b, Transpose::no, result, quiet);
        EXPECT_NEAR((result - expected).norm(), 0.0, 1e-12);
        multiply_into(a, Transpose::no, b_turned, Transpose::yes, 1.0, result, quiet);
        EXPECT_NEAR((result - 2.0 * expected).norm(), 0.0, 1e-12);
        multiply_into(a_turned, Transpose::yes, b_turned, Transpose::yes, -2.0, result, quiet);
        EXPECT_NEAR((result + 3.0 * expected).norm(), 0.0, 1e-12);
        // Into a part of a larger matrix, whose other entries stay.
        Matrix large = Matrix::Constant(rows + 2, cols + 1, 7.0);
        multiply_into(a, Transpose::no, b, Transpose::no, 0.0, large.block(1, 1, rows, cols),
                      quiet);
        EXPECT_NEAR((large.block(1, 1, rows, cols) - expected).norm(), 0.0, 1e-12);
        EXPECT_NEAR(large.row(0).sum() + large.row(rows + 1).sum() + large.col(0).sum(),
                    7.0 * static_cast<double>(2 * (cols + 1) + rows + 2), 1e-12);
      }
    }
  }
}

}  // namespace ufm
