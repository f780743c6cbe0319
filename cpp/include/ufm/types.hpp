// Matrix and vector types used throughout the library.
#pragma once

#include <Eigen/Core>

namespace ufm {

using Index = Eigen::Index;
using Matrix = Eigen::MatrixXd;
using Vector = Eigen::VectorXd;

// Part of a matrix: some of its rows, some of its columns.
using Block = Eigen::Ref<Matrix, 0, Eigen::OuterStride<>>;
using ConstBlock = Eigen::Ref<const Matrix, 0, Eigen::OuterStride<>>;

}  // namespace ufm
