// Marks a function to be compiled for several instruction sets, one of which is chosen when the
// library is loaded.
#pragma once

#if defined(__x86_64__) && defined(__linux__) && defined(__GLIBC__) && defined(__GNUC__) && \
    !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#if __GNUC__ >= 12
#define UFM_MULTIVERSION \
  __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#define UFM_HAS_MULTIVERSION 1
#endif
#endif
#ifndef UFM_MULTIVERSION
#define UFM_MULTIVERSION
#define UFM_HAS_MULTIVERSION 0
#endif
