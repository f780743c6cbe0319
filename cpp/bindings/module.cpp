#include "registry.hpp"

// The core keeps no state between calls but the LAPACK pointers, which are set under a lock: it
// needs no global interpreter lock. The thread tests pass on a free-threaded build.
PYBIND11_MODULE(_core, module, pybind11::mod_gil_not_used()) {
  module.doc() = "Compiled core of ufm. Private: use the functions of the package instead.";
  ufm::python::register_batch(module);
  ufm::python::register_lapack(module);
  ufm::python::register_losses(module);
  ufm::python::register_primitives(module);
  ufm::python::register_solver(module);
  ufm::python::register_threads(module);
}
