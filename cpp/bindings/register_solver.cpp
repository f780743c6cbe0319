#include <pybind11/eigen.h>
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "python_monitor.hpp"
#include "registry.hpp"
#include "ufm/expand.hpp"
#include "ufm/solve.hpp"

namespace py = pybind11;

namespace ufm::python {
namespace {

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

// Arrays as they come, without Eigen's conversion, which takes longer than a small solve's steps.
using Doubles = py::array_t<double, py::array::c_style | py::array::forcecast>;

Vector to_vector(const std::optional<Doubles>& values) {
  if (!values) {
    return Vector();
  }
  return Eigen::Map<const Vector>(values->data(), values->size());
}

// A solution near by: M, scaled bias and threshold ratios.
using Start = std::tuple<Matrix, Vector, Vector>;

// Takes long vectors over; short ones are copied sooner than owned.
template <typename Values>
py::array to_array(Values values) {
  using Value = typename Values::value_type;
  constexpr py::ssize_t worth_owning = 4096;
  const auto size = static_cast<py::ssize_t>(values.size());
  if (size < worth_owning) {
    return py::array_t<Value>(size, values.data());
  }
  auto held = std::make_unique<Values>(std::move(values));
  const py::capsule owner(held.get(), [](void* it) { delete static_cast<Values*>(it); });
  return py::array_t<Value>(size, held.release()->data(), owner);
}

// Named as the fields of ufm.Solution, but for m and structured, of which one is None. Takes all
// over: copies of large ones would take longer than solving the nodes.
py::dict describe(Problem problem, std::vector<Index> cluster_of, ReducedSolution solution) {
  StructuredMatrix& structured = solution.structured;
  py::dict fields;
  fields["cluster_of"] = to_array(std::move(cluster_of));
  fields["cluster_count"] = to_array(std::move(problem.count));
  fields["cluster_loss_weight"] = to_array(std::move(problem.loss_weight));
  fields["multiplicity"] = to_array(std::move(problem.multiplicity));
  fields["scaled_bias"] = to_array(std::move(solution.point.bias));
  fields["amplitudes"] = to_array(std::move(solution.amplitudes));
  fields["objective"] = solution.certificate.primal;
  fields["dual_objective"] = solution.certificate.dual;
  fields["relative_gap"] = solution.certificate.relative_gap;
  fields["iterations"] = solution.iterations;
  fields["method"] = solution.method;
  fields["num_nodes"] = solution.num_nodes;
  fields["known_rank"] = solution.rank >= 0 ? py::object(py::int_(solution.rank)) : py::none();
  fields["certificate_seconds"] = solution.certificate_seconds;
  fields["status"] = status_name(solution.status);
  if (structured.empty()) {
    fields["m"] = py::cast(std::move(solution.point.m));
    fields["structured"] = py::none();
  } else {
    fields["m"] = py::none();
    fields["structured"] =
        py::make_tuple(py::cast(std::move(structured.diagonal)),
                       py::cast(std::move(structured.left)), py::cast(std::move(structured.right)));
  }
  return fields;
}

py::dict solve_problem(const Doubles& counts, const std::optional<Doubles>& class_weights,
                       double lambda_z, double lambda_b, const std::optional<Doubles>& scale,
                       const std::optional<Doubles>& offset, double smoothing, double tol,
                       const std::string& method, int max_iterations, double time_limit,
                       const std::optional<Start>& nearby, py::object progress) {
  NearbySolution start;
  SolveOptions options;
  options.tol = tol;
  options.method = parse_method(method);
  options.max_iterations = max_iterations;
  if (nearby) {
    start = {{std::get<0>(*nearby), std::get<1>(*nearby)}, std::get<2>(*nearby)};
    options.start = &start;
  }
  PythonMonitor monitor(std::move(progress), time_limit);
  const Eigen::Map<const Vector> given_counts(counts.data(), counts.size());
  const Vector given_weights = to_vector(class_weights);
  const LossShape shape{to_vector(scale), to_vector(offset), smoothing};
  Problem problem;
  Grouping grouping;
  ReducedSolution solution;
  try {
    const py::gil_scoped_release release;
    problem = make_problem(given_counts, given_weights, lambda_z, lambda_b, shape, grouping);
    solution = solve(problem, options, monitor);
  } catch (const StopRequest&) {
    monitor.rethrow();
    throw std::runtime_error("the solve was abandoned");
  }
  monitor.rethrow();
  return describe(std::move(problem), grouping.take_cluster_of(counts.size()), std::move(solution));
}

using Columns = py::array_t<double, py::array::f_style | py::array::forcecast>;

py::array_t<double> expand_to_classes(const py::array_t<Index, py::array::c_style>& cluster_of,
                                      const Doubles& count, const Doubles& multiplicity,
                                      const Columns& m, const Doubles& amplitudes) {
  const Index classes = cluster_of.size();
  py::array_t<double> z({classes, classes});
  const Clusters clusters{count.size(), count.data(), multiplicity.data(), m.data(),
                          amplitudes.data()};
  expand_classes(clusters, cluster_of.data(), classes, z.mutable_data());
  return z;
}

bool enough_distinct(const Doubles& counts, const Doubles& class_weights, Index limit) {
  const py::gil_scoped_release release;
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
  module.attr("small_problem") = small_problem;
  module.attr("dense_limit") = dense_limit;
  module.def("solve", &solve_problem, py::arg("counts"), py::arg("class_weights"),
             py::arg("lambda_z"), py::arg("lambda_b"), py::arg("scale"), py::arg("offset"),
             py::arg("smoothing"), py::arg("tol"), py::arg("method"), py::arg("max_iterations"),
             py::arg("time_limit"), py::arg("start"), py::arg("progress"));
  module.def("expand_classes", &expand_to_classes, py::arg("cluster_of"), py::arg("count"),
             py::arg("multiplicity"), py::arg("m"), py::arg("amplitudes"));
  module.def("has_distinct", &enough_distinct, py::arg("counts"), py::arg("class_weights"),
             py::arg("limit"));
  module.def("zero_solution", &zero_solution, py::arg("counts"), py::arg("class_weights"),
             py::arg("lambda_b"), py::arg("scale"), py::arg("offset"), py::arg("smoothing"),
             "Bias per cluster and lambda_max of the solution Z = 0.");
}

}  // namespace ufm::python
