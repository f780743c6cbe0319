#include <pybind11/eigen.h>
#include <pybind11/numpy.h>

#include <limits>

#include "python_monitor.hpp"
#include "registry.hpp"
#include "ufm/loss.hpp"
#include "ufm/solve.hpp"
#include "ufm/spectral.hpp"

namespace py = pybind11;

namespace ufm::python {
namespace {

// Class-by-class problem: every class is its own cluster. The counts enter by the loss weights
// alone; a count of one each makes M = Z D^(1/2) the matrix Z itself.
Problem ungrouped_problem(const Vector& counts, const Vector& class_weights) {
  Problem problem;
  const Index size = counts.size();
  problem.count = Vector::Ones(size);
  problem.multiplicity = Vector::Ones(size);
  problem.loss_weight = counts / counts.sum();
  if (class_weights.size()) {
    problem.loss_weight.array() *= class_weights.array();
  }
  problem.lambda_z = 1.0;  // not used by the loss: no cluster has two classes
  problem.lambda_b = std::numeric_limits<double>::infinity();
  validate(problem);
  return problem;
}

py::tuple cross_entropy(const Matrix& z, const Vector& bias, const Vector& counts,
                        const Vector& class_weights) {
  LossState state;
  Matrix gradient;
  Vector gradient_bias;
  {
    const py::gil_scoped_release release;
    const Problem problem = ungrouped_problem(counts, class_weights);
    const BlockLoss loss(problem);
    loss.evaluate(z, bias, state);
    loss.gradient(state, gradient, gradient_bias);
  }
  return py::make_tuple(state.value, std::move(gradient), std::move(gradient_bias));
}

}  // namespace

void register_primitives(py::module_& module) {
  module.def(
      "svt",
      [](const Matrix& x, double tau) {
        return interruptible([&](Monitor& monitor) { return svt(x, tau, monitor).value; });
      },
      py::arg("x"), py::arg("tau"));
  module.def(
      "singular_values",
      [](const Matrix& x) {
        return interruptible([&](Monitor& monitor) { return singular_values(x, monitor); });
      },
      py::arg("x"));
  module.def("operator_norm_bound", [](const Matrix& x) {
    const py::gil_scoped_release release;
    Monitor quiet;
    const NormBound bound = operator_norm(x, quiet);
    return std::make_pair(bound.estimate, bound.upper);
  });
  module.def("cross_entropy", &cross_entropy, py::arg("z"), py::arg("bias"), py::arg("counts"),
             py::arg("class_weights"));
}

}  // namespace ufm::python
