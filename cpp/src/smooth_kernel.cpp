#include "ufm/smooth_kernel.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "ufm/quadrature.hpp"

namespace ufm {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double epsilon = std::numeric_limits<double>::epsilon();
constexpr Index most_fine_nodes = 64;
constexpr double enough = 1e-16;  // errors of interpolation below this are below rounding
constexpr std::array ellipses{1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0};

// Takes values at the coarse nodes of a panel to Chebyshev coefficients on the interval of its
// clusters; the identity where clusters were kept.
Matrix to_coefficients(const Panel& panel, double low, double high) {
  const Index size = panel.nodes.size();
  if (panel.kept) {
    return Matrix::Identity(size, size);
  }
  const double pi = 3.14159265358979323846;
  Matrix transform(size, size);
  for (Index k = 0; k < size; ++k) {
    for (Index j = 0; j < size; ++j) {
      const double angle =
          pi * static_cast<double>(k) * (static_cast<double>(j) + 0.5) / static_cast<double>(size);
      transform(k, j) = (k > 0 ? 2.0 : 1.0) / static_cast<double>(size) * std::cos(angle);
    }
  }
  return transform * lagrange_matrix(panel.nodes, chebyshev_points(low, high, size));
}

// How large |T_k| gets on the ellipse with foci -1 and 1 whose half axes sum to rho.
double largest_chebyshev(Index k, double rho) {
  const double power = std::pow(rho, static_cast<double>(k));
  return 0.5 * (power + 1.0 / power);
}

// A function on one panel, f = sum_k a_k T_k with |a_k| <= size[k], whatever the other variable is.
struct Coefficients {
  Vector size;

  // Bounds |f(x) - f(y)| on the panel.
  double range() const { return 2.0 * size.tail(size.size() - 1).sum(); }

  struct Errors {
    double plain;     // of exp(f), as a part of it
    double weighted;  // of f exp(f), as a part of exp(f)
  };

  // What interpolation at some Chebyshev points leaves out. With |g| <= M on the ellipse it is at
  // most 4 M rho^-n / (rho - 1) for degree n (Trefethen, Approximation Theory and Approximation
  // Practice, theorem 8.2; the points of the first kind alias in the same way).
  Errors errors(Index num_nodes) const {
    Errors best{infinity, infinity};
    for (const double rho : ellipses) {
      double growth = 0.0;
      double largest = size[0];
      for (Index k = 1; k < size.size(); ++k) {
        const double top = largest_chebyshev(k, rho);
        growth += size[k] * (top + 1.0);
        largest += size[k] * top;
      }
      const double plain =
          4.0 / (rho - 1.0) * std::exp(growth - static_cast<double>(num_nodes - 1) * std::log(rho));
      best.plain = std::min(best.plain, plain);
      best.weighted = std::min(best.weighted, largest * plain);
    }
    return best;
  }
};

// Sum of the absolute Lagrange polynomials of Chebyshev points of the first kind, at most.
double lebesgue_constant(Index num_nodes) {
  return 1.0 + 0.6366197723675814 * std::log(static_cast<double>(num_nodes));
}

class Builder {
 public:
  Builder(const Reduction& reduction, const ContinuumPoint& point) : reduction_(reduction) {
    bound_coefficients(point);
  }

  SmoothKernel run(const ContinuumPoint& point) {
    double row_range = 0.0;
    double column_range = 0.0;
    double most_amplified = 1.0;  // by interpolating in the row from values with errors
    Coefficients::Errors rows{0.0, 0.0};
    Coefficients::Errors columns{0.0, 0.0};
    for (std::size_t p = 0; p < reduction_.panels.size(); ++p) {
      const FinePanel& panel = add_panel(p);
      if (panel.exact()) {
        continue;
      }
      widen(rows, along_rows_[p].errors(panel.size));
      widen(columns, along_columns_[p].errors(panel.size));
      const double range = along_rows_[p].range();
      most_amplified = std::max(most_amplified, lebesgue_constant(panel.size) * std::exp(range));
      row_range = std::max(row_range, range);
      column_range = std::max(column_range, along_columns_[p].range());
    }
    evaluate(point);
    const double rounding = std::exp(row_range + column_range) * rounding_of_values(point);
    kernel_.error = rows.plain + most_amplified * columns.plain + rounding;
    kernel_.weighted_error = rows.weighted + most_amplified * columns.weighted +
                             rounding * (1.0 + kernel_.largest_logit);
    if (!kernel_.values.allFinite() || !(kernel_.error < infinity)) {
      kernel_.error = kernel_.weighted_error = infinity;
    }
    return std::move(kernel_);
  }

 private:
  static void widen(Coefficients::Errors& errors, const Coefficients::Errors& other) {
    errors.plain = std::max(errors.plain, other.plain);
    errors.weighted = std::max(errors.weighted, other.weighted);
  }

  static double low(const Panel& panel) { return panel.points[panel.count - 1]; }
  static double high(const Panel& panel) { return panel.points[0]; }

  // Bounds of the coefficients of F + b on each panel along rows and along columns.
  void bound_coefficients(const ContinuumPoint& point) {
    const Matrix logits = point.node_values.colwise() + point.node_bias;
    std::vector<Matrix> transforms;
    for (const Panel& panel : reduction_.panels) {
      transforms.push_back(to_coefficients(panel, low(panel), high(panel)));
      along_rows_.push_back({Vector::Zero(panel.nodes.size())});
      along_columns_.push_back({Vector::Zero(panel.nodes.size())});
    }
    for (std::size_t p = 0; p < reduction_.panels.size(); ++p) {
      for (std::size_t q = 0; q < reduction_.panels.size(); ++q) {
        const Panel& row = reduction_.panels[p];
        const Panel& column = reduction_.panels[q];
        const Matrix sizes = (transforms[p] *
                              logits.block(row.first_node, column.first_node, row.nodes.size(),
                                           column.nodes.size()) *
                              transforms[q].transpose())
                                 .cwiseAbs();
        // Kept clusters are looked at one by one, all Chebyshev polynomials together.
        const Vector by_row =
            column.kept ? Vector(sizes.rowwise().maxCoeff()) : Vector(sizes.rowwise().sum());
        const Vector by_column = row.kept ? Vector(sizes.colwise().maxCoeff().transpose())
                                          : Vector(sizes.colwise().sum().transpose());
        along_rows_[p].size = along_rows_[p].size.cwiseMax(by_row);
        along_columns_[q].size = along_columns_[q].size.cwiseMax(by_column);
        const double logit = row.kept ? by_row.maxCoeff() : by_row.sum();
        kernel_.largest_logit = std::max(kernel_.largest_logit, logit);
      }
    }
  }

  // As few fine nodes as interpolate to rounding, or the clusters themselves.
  const FinePanel& add_panel(std::size_t p) {
    const Panel& panel = reduction_.panels[p];
    const auto suffices = [&](Index size) {
      const double error =
          std::max(along_rows_[p].errors(size).plain, along_columns_[p].errors(size).plain);
      const double amplified = std::exp(along_rows_[p].range()) * lebesgue_constant(size);
      return error * amplified <= enough;
    };
    Index size = panel.nodes.size() + 4;
    while (size < most_fine_nodes && !suffices(size)) {
      size += 2;
    }
    FinePanel fine{panel.first, panel.count, num_nodes_, panel.count, Matrix()};
    if (!panel.kept && size < panel.count) {
      fine.size = size;
      fine.rows = lagrange_matrix(chebyshev_points(low(panel), high(panel), size), panel.points);
    }
    num_nodes_ += fine.size;
    kernel_.panels.push_back(std::move(fine));
    return kernel_.panels.back();
  }

  // Rounding in values at the fine nodes, as a part of them, times what interpolation from there
  // makes of it. Fine nodes far from all coarse ones, in gaps between groups of counts, amplify
  // what is lost in the logits at the coarse ones.
  double rounding_of_values(const ContinuumPoint& point) const {
    double from_fine = 1.0;
    for (const FinePanel& fine : kernel_.panels) {
      if (!fine.exact()) {
        from_fine = std::max(from_fine, largest_row_sum(fine.rows));
      }
    }
    const double at_nodes =
        point.node_values.cwiseAbs().maxCoeff() + point.node_bias.cwiseAbs().maxCoeff();
    const double logits = to_fine_ * to_fine_ * at_nodes + kernel_.largest_logit;
    return 4.0 * epsilon * from_fine * from_fine * (1.0 + logits);
  }

  static double largest_row_sum(const Matrix& a) { return a.cwiseAbs().rowwise().sum().maxCoeff(); }

  void evaluate(const ContinuumPoint& point) {
    Matrix from_nodes = Matrix::Zero(num_nodes_, point.node_bias.size());
    for (std::size_t p = 0; p < reduction_.panels.size(); ++p) {
      const Panel& panel = reduction_.panels[p];
      const FinePanel& fine = kernel_.panels[p];
      auto part =
          from_nodes.block(fine.first_node, panel.first_node, fine.size, panel.nodes.size());
      if (fine.exact()) {
        part = panel.interpolation;
      } else {
        part = lagrange_matrix(panel.nodes, chebyshev_points(low(panel), high(panel), fine.size));
      }
    }
    to_fine_ = largest_row_sum(from_nodes);
    kernel_.logits = from_nodes * point.node_values * from_nodes.transpose();
    kernel_.logits.colwise() += from_nodes * point.node_bias;
    kernel_.values = kernel_.logits.array().exp();
    // The diagonal entry of a cluster is its own logit, which is no part of the smooth kernel.
    for (const FinePanel& fine : kernel_.panels) {
      if (fine.exact()) {
        kernel_.values.diagonal().segment(fine.first_node, fine.size).setZero();
      }
    }
  }

  const Reduction& reduction_;
  double to_fine_ = 1.0;  // largest factor of interpolation from coarse to fine nodes
  std::vector<Coefficients> along_rows_;
  std::vector<Coefficients> along_columns_;
  Index num_nodes_ = 0;
  SmoothKernel kernel_;
};

}  // namespace

Vector SmoothKernel::gather(const Vector& factors) const {
  Vector result(num_nodes());
  for (const FinePanel& panel : panels) {
    auto part = result.segment(panel.first_node, panel.size);
    const auto given = factors.segment(panel.first, panel.count);
    if (panel.exact()) {
      part = given;
    } else {
      part.noalias() = panel.rows.transpose() * given;
    }
  }
  return result;
}

Vector SmoothKernel::spread(const Vector& node_values) const {
  Vector result(num_clusters());
  for (const FinePanel& panel : panels) {
    auto part = result.segment(panel.first, panel.count);
    const auto given = node_values.segment(panel.first_node, panel.size);
    if (panel.exact()) {
      part = given;
    } else {
      part.noalias() = panel.rows * given;
    }
  }
  return result;
}

Vector SmoothKernel::diagonal(const Matrix& node_values) const {
  Vector result = Vector::Zero(num_clusters());
  for (const FinePanel& panel : panels) {
    if (!panel.exact()) {
      const auto block =
          node_values.block(panel.first_node, panel.first_node, panel.size, panel.size);
      const Matrix columns = panel.rows * block.transpose();
      result.segment(panel.first, panel.count) = columns.cwiseProduct(panel.rows).rowwise().sum();
    }
  }
  return result;
}

SmoothKernel smooth_kernel(const Reduction& reduction, const ContinuumPoint& point) {
  return Builder(reduction, point).run(point);
}

}  // namespace ufm
