// Problems with smoothed labels, scaled and shifted logits, given by clusters.
#include <pybind11/eigen.h>
#include <pybind11/numpy.h>

#include <utility>

#include "python_monitor.hpp"
#include "registry.hpp"
#include "ufm/bias.hpp"
#include "ufm/solve.hpp"

namespace py = pybind11;

namespace ufm::python {
namespace {

Problem shaped_problem(const Vector& count, const Vector& loss_weight, const Vector& multiplicity,
                       const Vector& scale, const Vector& offset, double smoothing, double lambda_z,
                       double lambda_b) {
  Problem problem;
  problem.count = count;
  problem.loss_weight = loss_weight;
  problem.multiplicity = multiplicity;
  problem.scale = scale;
  problem.offset = offset;
  problem.smoothing = smoothing;
  problem.lambda_z = lambda_z;
  problem.lambda_b = lambda_b;
  validate(problem);
  return problem;
}

Index rank_between_clusters(const Vector& count, const Vector& loss_weight,
                            const Vector& multiplicity, const Vector& scale, const Vector& offset,
                            double smoothing, double lambda_z, double lambda_b, const Matrix& m,
                            const Vector& scaled_bias) {
  const Problem problem = shaped_problem(count, loss_weight, multiplicity, scale, offset, smoothing,
                                         lambda_z, lambda_b);
  return interruptible(
      [&](Monitor& monitor) { return between_rank(problem, {m, scaled_bias}, monitor); });
}

// Everything the core says of one point: value, gradients, a Hessian product and a certificate.
py::dict loss_at(const Vector& count, const Vector& loss_weight, const Vector& multiplicity,
                 const Vector& scale, const Vector& offset, double smoothing, double lambda_z,
                 double lambda_b, const Matrix& m, const Vector& scaled_bias, const Matrix& dm,
                 const Vector& dbias, double norm, bool interpolated_bias) {
  LossState state;
  Matrix gradient, product;
  Vector bias_gradient, bias_product, amplitudes;
  Certificate certificate;
  {
    const py::gil_scoped_release release;
    Monitor quiet;
    const Problem problem = shaped_problem(count, loss_weight, multiplicity, scale, offset,
                                           smoothing, lambda_z, lambda_b);
    const BlockLoss loss(problem);
    loss.evaluate(m, scaled_bias, state);
    loss.gradient(state, gradient, bias_gradient);
    loss.hessian_product(state, dm, dbias, product, bias_product);
    PartsError error;
    error.interpolated_bias = interpolated_bias;
    certificate = certify_from_parts(loss, state, scaled_bias, bias_gradient, norm,
                                     operator_norm(gradient, quiet), error);
    amplitudes = state.take_amplitudes(problem);
  }
  py::dict result;
  result["value"] = state.value;
  result["gradient"] = std::move(gradient);
  result["bias_gradient"] = std::move(bias_gradient);
  result["hessian_product"] = std::move(product);
  result["bias_hessian_product"] = std::move(bias_product);
  result["amplitudes"] = std::move(amplitudes);
  result["primal"] = certificate.primal;
  result["dual"] = certificate.dual;
  result["relative_gap"] = certificate.relative_gap;
  return result;
}

}  // namespace

void register_losses(py::module_& module) {
  module.def("between_rank", &rank_between_clusters, py::arg("count"), py::arg("loss_weight"),
             py::arg("multiplicity"), py::arg("scale"), py::arg("offset"), py::arg("smoothing"),
             py::arg("lambda_z"), py::arg("lambda_b"), py::arg("m"), py::arg("scaled_bias"));
  module.def("loss_at", &loss_at, py::arg("count"), py::arg("loss_weight"), py::arg("multiplicity"),
             py::arg("scale"), py::arg("offset"), py::arg("smoothing"), py::arg("lambda_z"),
             py::arg("lambda_b"), py::arg("m"), py::arg("scaled_bias"), py::arg("dm"),
             py::arg("dbias"), py::arg("nuclear_norm"), py::arg("interpolated_bias") = false,
             "Value, gradients, a Hessian product and the certificate of a point by clusters.");
}

}  // namespace ufm::python
