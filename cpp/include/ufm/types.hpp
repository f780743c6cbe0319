// Matrix and vector types used throughout the library.
#pragma once

#include <Eigen/Core>

namespace ufm {

using Index = Eigen::Index;
using Matrix = Eigen::MatrixXd;
using Vector = Eigen::VectorXd;

}  // namespace ufm
