#include <pybind11/numpy.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "python_monitor.hpp"
#include "registry.hpp"
#include "ufm/batch.hpp"

namespace py = pybind11;

namespace ufm::python {
namespace {

using Doubles = py::array_t<double, py::array::c_style>;
using Indices = py::array_t<Index, py::array::c_style>;

// Hands a vector's memory over to a NumPy array.
template <typename T>
py::array_t<T> to_array(std::vector<T>&& values) {
  auto* owned = new std::vector<T>(std::move(values));
  const py::capsule owner(owned, [](void* p) { delete static_cast<std::vector<T>*>(p); });
  return py::array_t<T>(static_cast<py::ssize_t>(owned->size()), owned->data(), owner);
}

py::dict to_dict(BatchResult&& result) {
  py::dict fields;
  fields["objective"] = to_array(std::move(result.objective));
  fields["dual_objective"] = to_array(std::move(result.dual_objective));
  fields["relative_gap"] = to_array(std::move(result.relative_gap));
  fields["seconds"] = to_array(std::move(result.seconds));
  fields["status"] = to_array(std::move(result.status));
  fields["iterations"] = to_array(std::move(result.iterations));
  fields["rank"] = to_array(std::move(result.rank));
  fields["collapsed_classes"] = to_array(std::move(result.collapsed_classes));
  fields["num_clusters"] = to_array(std::move(result.num_clusters));
  fields["num_columns"] = to_array(std::move(result.num_columns));
  fields["num_nodes"] = to_array(std::move(result.num_nodes));
  fields["method"] = to_array(std::move(result.method));
  fields["point_start"] = to_array(std::move(result.point_start));
  fields["points"] = to_array(std::move(result.points));
  py::list names;
  for (const std::string& name : result.method_names) {
    names.append(name);
  }
  fields["method_names"] = names;
  return fields;
}

// The arrays' lengths and the rows' bounds are the caller's responsibility.
py::dict solve_many(const Doubles& counts, const Indices& count_start, const Indices& num_classes,
                    const Doubles& class_weights, const Indices& weight_start,
                    const Doubles& lambda_z, const Doubles& lambda_b, const Doubles& scale,
                    const Indices& scale_start, const Doubles& offset, const Indices& offset_start,
                    const Doubles& smoothing, double tol, int max_iterations, int threads,
                    double time_limit) {
  BatchInput input;
  input.size = num_classes.size();
  input.num_classes = num_classes.data();
  input.counts = {counts.data(), count_start.data()};
  if (class_weights.size()) {
    input.class_weights = {class_weights.data(), weight_start.data()};
  }
  if (scale.size()) {
    input.scale = {scale.data(), scale_start.data()};
  }
  if (offset.size()) {
    input.offset = {offset.data(), offset_start.data()};
  }
  if (smoothing.size()) {
    input.smoothing = smoothing.data();
  }
  input.lambda_z = lambda_z.data();
  input.lambda_b = lambda_b.data();
  SolveOptions options;
  options.tol = tol;
  options.max_iterations = max_iterations;
  PythonMonitor monitor(py::none(), time_limit);
  BatchResult result;
  try {
    const py::gil_scoped_release release;
    result = solve_batch(input, options, threads, monitor);
  } catch (const StopRequest&) {
    monitor.rethrow();
    throw std::runtime_error("the batch was abandoned");
  }
  monitor.rethrow();
  return to_dict(std::move(result));
}

// Index of the first row that is not the one before it and for which the test fails, or -1.
template <typename Same, typename Test>
Index first_failing(Index size, const Same& same_as_last, const Test& passes) {
  for (Index i = 0; i < size; ++i) {
    if (!(i > 0 && same_as_last(i)) && !passes(i)) {
      return i;
    }
  }
  return -1;
}

// Index of the first row that is not positive and finite throughout, with a finite sum that no
// entry vanishes beside; or -1. No row is empty.
Index first_bad_row(const Doubles& values, const Indices& start, const Indices& length) {
  const py::gil_scoped_release release;
  const Rows rows{values.data(), start.data()};
  const Index* size = length.data();
  return first_failing(
      start.size(),
      [&](Index i) { return rows.row(i) == rows.row(i - 1) && size[i] == size[i - 1]; },
      [&](Index i) {
        const Eigen::Map<const Vector> row(rows.row(i), size[i]);
        const double sum = row.sum();  // not finite where an entry is not
        return std::isfinite(sum) && row.minCoeff() / sum > 0.0;
      });
}

// Index of the first row of class weights that is not positive and finite, or is not so any more
// when it is multiplied by the counts and divided by their sum; or -1.
Index first_bad_weights(const Doubles& counts, const Indices& count_start,
                        const Doubles& class_weights, const Indices& weight_start,
                        const Indices& length) {
  const py::gil_scoped_release release;
  const Rows count_rows{counts.data(), count_start.data()};
  const Rows weight_rows{class_weights.data(), weight_start.data()};
  const Index* size = length.data();
  return first_failing(
      length.size(),
      [&](Index i) {
        return count_rows.row(i) == count_rows.row(i - 1) &&
               weight_rows.row(i) == weight_rows.row(i - 1) && size[i] == size[i - 1];
      },
      [&](Index i) {
        const Eigen::Map<const Eigen::ArrayXd> count(count_rows.row(i), size[i]);
        const Eigen::Map<const Eigen::ArrayXd> weight(weight_rows.row(i), size[i]);
        const Eigen::ArrayXd loss_weight = weight * count / count.sum();
        return loss_weight.isFinite().all() && (loss_weight > 0.0).all();
      });
}

// Whether any row holds at least limit different pairs of count and weight.
bool any_row_has_distinct(const Doubles& counts, const Indices& count_start,
                          const Indices& num_classes, const Doubles& class_weights,
                          const Indices& weight_start, Index limit) {
  const py::gil_scoped_release release;
  const Rows count_rows{counts.data(), count_start.data()};
  const Rows weight_rows{class_weights.size() ? class_weights.data() : nullptr,
                         weight_start.data()};
  for (Index i = 0; i < num_classes.size(); ++i) {
    const bool shared = i > 0 && count_rows.row(i) == count_rows.row(i - 1) &&
                        weight_rows.row(i) == weight_rows.row(i - 1);
    if (!shared &&
        has_distinct(count_rows.row(i), weight_rows.row(i), num_classes.data()[i], limit)) {
      return true;
    }
  }
  return false;
}

// Cluster of each class, and count, loss weight and multiplicity of each cluster.
py::tuple group(const Doubles& counts, const Doubles& class_weights, const Doubles& scale,
                const Doubles& offset) {
  Grouping grouping;
  const auto map = [](const Doubles& values) {
    return Vector(Eigen::Map<const Vector>(values.data(), values.size()));
  };
  const Problem problem = make_problem(map(counts), map(class_weights), 1.0, 1.0,
                                       {map(scale), map(offset), 0.0}, grouping);
  const auto copy = [](const auto& values) {
    using Value = std::decay_t<decltype(*values.data())>;
    return py::array_t<Value>(static_cast<py::ssize_t>(values.size()), values.data());
  };
  return py::make_tuple(copy(grouping.take_cluster_of(counts.size())), copy(problem.count),
                        copy(problem.loss_weight), copy(problem.multiplicity));
}

}  // namespace

void register_batch(py::module_& module) {
  module.def("solve_many", &solve_many, py::arg("counts"), py::arg("count_start"),
             py::arg("num_classes"), py::arg("class_weights"), py::arg("weight_start"),
             py::arg("lambda_z"), py::arg("lambda_b"), py::arg("scale"), py::arg("scale_start"),
             py::arg("offset"), py::arg("offset_start"), py::arg("smoothing"), py::arg("tol"),
             py::arg("max_iterations"), py::arg("threads"), py::arg("time_limit"),
             "Solve many problems on a pool of threads; returns arrays by name.");
  module.def("first_bad_row", &first_bad_row, py::arg("values"), py::arg("start"),
             py::arg("length"));
  module.def("first_bad_weights", &first_bad_weights, py::arg("counts"), py::arg("count_start"),
             py::arg("class_weights"), py::arg("weight_start"), py::arg("length"));
  module.def("any_row_has_distinct", &any_row_has_distinct, py::arg("counts"),
             py::arg("count_start"), py::arg("num_classes"), py::arg("class_weights"),
             py::arg("weight_start"), py::arg("limit"));
  module.def("group", &group, py::arg("counts"), py::arg("class_weights"),
             py::arg("scale") = Doubles(0), py::arg("offset") = Doubles(0),
             "Cluster of each class; count, loss weight and multiplicity of each cluster.");
}

}  // namespace ufm::python
