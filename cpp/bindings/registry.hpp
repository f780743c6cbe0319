// One register_<topic> function a file; module.cpp only calls them.
#pragma once

#include <pybind11/pybind11.h>

namespace ufm::python {

void register_batch(pybind11::module_& module);
void register_lapack(pybind11::module_& module);
void register_losses(pybind11::module_& module);
void register_primitives(pybind11::module_& module);
void register_solver(pybind11::module_& module);
void register_threads(pybind11::module_& module);

}  // namespace ufm::python
