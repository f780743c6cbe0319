#include <algorithm>
#include <string>

#include "registry.hpp"
#include "ufm/kernels.hpp"
#include "ufm/linalg.hpp"

namespace py = pybind11;

namespace ufm::python {
namespace {

// A capsule's name is the C signature of its function. Functions with 64-bit integers or another
// number of arguments are refused, since calling them would corrupt memory.
template <typename Function>
Function unpack(const py::capsule& capsule, const char* what, int arguments) {
  const std::string signature = capsule.name() ? capsule.name() : "";
  const auto commas = std::count(signature.begin(), signature.end(), ',');
  const bool known = signature.rfind("void (char *", 0) == 0 && commas + 1 == arguments &&
                     signature.find("int *") != std::string::npos &&
                     signature.find("int64") == std::string::npos &&
                     signature.find("long") == std::string::npos;
  if (!known) {
    throw std::runtime_error(std::string("unknown signature of ") + what + ": " + signature);
  }
  return reinterpret_cast<Function>(capsule.get_pointer());
}

}  // namespace

void register_lapack(py::module_& module) {
  module.def(
      "set_lapack",
      [](const py::capsule& gemm, const py::capsule& syrk, const py::capsule& potrf,
         const py::capsule& gesdd) {
        LapackFunctions functions;
        functions.gemm = unpack<LapackFunctions::Gemm>(gemm, "dgemm", 13);
        functions.syrk = unpack<LapackFunctions::Syrk>(syrk, "dsyrk", 10);
        functions.potrf = unpack<LapackFunctions::Potrf>(potrf, "dpotrf", 5);
        functions.gesdd = unpack<LapackFunctions::Gesdd>(gesdd, "dgesdd", 14);
        set_lapack(functions);
      },
      py::arg("gemm"), py::arg("syrk"), py::arg("potrf"), py::arg("gesdd"),
      "Use LAPACK and BLAS functions given as capsules, as scipy.linalg exports them.");
  module.def("clear_lapack", &clear_lapack, "Go back to Eigen for everything.");
  module.def("has_lapack", &has_lapack);
  module.def("instruction_set", &kernels::instruction_set);
  module.attr("lapack_crossover") = lapack_crossover;
}

}  // namespace ufm::python
