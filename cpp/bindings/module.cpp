#include "registry.hpp"

// Not declared free of the global interpreter lock: not all thread tests have passed on a
// free-threaded build, which therefore turns its lock on when it loads this module.
PYBIND11_MODULE(_core, module) {
  module.doc() = "Compiled core of ufm. Private: use the functions of the package instead.";
  ufm::python::register_batch(module);
  ufm::python::register_lapack(module);
  ufm::python::register_losses(module);
  ufm::python::register_primitives(module);
  ufm::python::register_solver(module);
  ufm::python::register_threads(module);
}
