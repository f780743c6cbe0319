#include "registry.hpp"

PYBIND11_MODULE(_core, module) {
  module.doc() = "Compiled core of ufm. Private: use the functions of the package instead.";
  ufm::python::register_batch(module);
  ufm::python::register_lapack(module);
  ufm::python::register_losses(module);
  ufm::python::register_primitives(module);
  ufm::python::register_solver(module);
  ufm::python::register_threads(module);
}
