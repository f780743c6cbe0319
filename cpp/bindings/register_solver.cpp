#include <pybind11/eigen.h>
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "python_monitor.hpp"
#include "registry.hpp"
#include "ufm/solve.hpp"

namespace py = pybind11;

namespace ufm::python {
namespace {

// A solved problem of K classes: the reduced problem, its solution and the class of each cluster.
struct CoreSolution {
  Problem problem;
  Grouping grouping;
  ReducedSolution reduced;
};

Method parse_method(const std::string& name) {
  if (name == "auto") {
    return Method::automatic;
  }
  if (name == "proximal") {
    return Method::proximal;
  }
  if (name == "factored") {
    return Method::factored;
  }
  if (name == "continuum") {
    return Method::continuum;
  }
  throw std::invalid_argument("unknown method '" + name + "'");
}

const char* status_name(Status status) {
  switch (status) {
    case Status::converged:
      return "CONVERGED";
    case Status::max_iterations:
      return "MAX_ITERATIONS";
    case Status::time_limit:
      return "TIME_LIMIT";
    case Status::interrupted:
      return "INTERRUPTED";
    case Status::numerical_error:
      break;
  }
  return "NUMERICAL_ERROR";
}

CoreSolution solve_problem(const Vector& counts, const Vector& class_weights, double lambda_z,
                           double lambda_b, const Vector& scale, const Vector& offset,
                           double smoothing, double tol, const std::string& method,
                           int max_iterations, double time_limit, const Matrix& start_m,
                           const Vector& start_bias, const Vector& start_threshold_ratio,
                           py::object progress) {
  CoreSolution solution;
  const NearbySolution start{{start_m, start_bias}, start_threshold_ratio};
  SolveOptions options;
  options.tol = tol;
  options.method = parse_method(method);
  options.max_iterations = max_iterations;
  options.start = start_m.size() > 0 ? &start : nullptr;
  PythonMonitor monitor(std::move(progress), time_limit);
  try {
    const py::gil_scoped_release release;
    solution.problem = make_problem(counts, class_weights, lambda_z, lambda_b,
                                    {scale, offset, smoothing}, solution.grouping);
    solution.reduced = solve(solution.problem, options, monitor);
  } catch (const StopRequest&) {
    monitor.rethrow();
    throw std::runtime_error("the solve was abandoned");
  }
  monitor.rethrow();
  return solution;
}

py::array_t<Index> cluster_of(const CoreSolution& solution) {
  const auto& clusters = solution.grouping.cluster_of;
  return py::array_t<Index>(static_cast<py::ssize_t>(clusters.size()), clusters.data());
}

bool enough_distinct(const Vector& counts, const Vector& class_weights, Index limit) {
  return has_distinct(counts.data(), class_weights.size() ? class_weights.data() : nullptr,
                      counts.size(), limit);
}

py::tuple zero_solution(const Vector& counts, const Vector& class_weights, double lambda_b,
                        const Vector& scale, const Vector& offset, double smoothing) {
  Grouping grouping;
  BiasOnly result = interruptible([&](Monitor& monitor) {
    const Problem problem =
        make_problem(counts, class_weights, 1.0, lambda_b, {scale, offset, smoothing}, grouping);
    BiasOnly found = bias_only(problem, monitor);
    found.bias.array() /= problem.multiplicity.array().sqrt();
    return found;
  });
  return py::make_tuple(std::move(result.bias), result.lambda_max);
}

}  // namespace

void register_solver(py::module_& module) {
  py::class_<CoreSolution>(module, "CoreSolution")
      .def_property_readonly("cluster_of", &cluster_of)
      .def_property_readonly("count", [](const CoreSolution& s) { return s.problem.count; })
      .def_property_readonly("loss_weight",
                             [](const CoreSolution& s) { return s.problem.loss_weight; })
      .def_property_readonly("multiplicity",
                             [](const CoreSolution& s) { return s.problem.multiplicity; })
      .def_property_readonly("m", [](const CoreSolution& s) { return s.reduced.point.m; })
      .def_property_readonly("structured",
                             [](const CoreSolution& s) -> py::object {
                               const StructuredMatrix& m = s.reduced.structured;
                               if (m.empty()) {
                                 return py::none();
                               }
                               return py::make_tuple(m.diagonal, m.left, m.right);
                             })
      .def_property_readonly("scaled_bias",
                             [](const CoreSolution& s) { return s.reduced.point.bias; })
      .def_property_readonly("amplitudes",
                             [](const CoreSolution& s) { return s.reduced.amplitudes; })
      .def_property_readonly("nuclear_norm",
                             [](const CoreSolution& s) { return s.reduced.nuclear_norm; })
      .def_property_readonly("objective",
                             [](const CoreSolution& s) { return s.reduced.certificate.primal; })
      .def_property_readonly("dual_objective",
                             [](const CoreSolution& s) { return s.reduced.certificate.dual; })
      .def_property_readonly(
          "relative_gap", [](const CoreSolution& s) { return s.reduced.certificate.relative_gap; })
      .def_property_readonly(
          "operator_norm",
          [](const CoreSolution& s) { return s.reduced.certificate.operator_norm; })
      .def_property_readonly("status",
                             [](const CoreSolution& s) { return status_name(s.reduced.status); })
      .def_property_readonly("iterations",
                             [](const CoreSolution& s) { return s.reduced.iterations; })
      .def_property_readonly("inner_iterations",
                             [](const CoreSolution& s) { return s.reduced.inner_iterations; })
      .def_property_readonly("certificate_seconds",
                             [](const CoreSolution& s) { return s.reduced.certificate_seconds; })
      .def_property_readonly("rank", [](const CoreSolution& s) { return s.reduced.rank; })
      .def_property_readonly("num_nodes", [](const CoreSolution& s) { return s.reduced.num_nodes; })
      .def_property_readonly("method", [](const CoreSolution& s) { return s.reduced.method; });

  module.attr("small_problem") = small_problem;
  module.attr("dense_limit") = dense_limit;
  module.def("solve", &solve_problem, py::arg("counts"), py::arg("class_weights"),
             py::arg("lambda_z"), py::arg("lambda_b"), py::arg("scale"), py::arg("offset"),
             py::arg("smoothing"), py::arg("tol"), py::arg("method"), py::arg("max_iterations"),
             py::arg("time_limit"), py::arg("start_m"), py::arg("start_bias"),
             py::arg("start_threshold_ratio"), py::arg("progress"));
  module.def("has_distinct", &enough_distinct, py::arg("counts"), py::arg("class_weights"),
             py::arg("limit"), py::call_guard<py::gil_scoped_release>());
  module.def("zero_solution", &zero_solution, py::arg("counts"), py::arg("class_weights"),
             py::arg("lambda_b"), py::arg("scale"), py::arg("offset"), py::arg("smoothing"),
             "Bias per cluster and lambda_max of the solution Z = 0.");
}

}  // namespace ufm::python
