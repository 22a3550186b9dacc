# SPDX-License-Identifier: BSD-3-Clause
#
# Looks for the development files of libibverbs and librdmacm, so that their absence is told here and
# not by an error of the Rust or the C compiler.

function(require_rdma_library library header package)
	find_path(${library}_INCLUDE_DIR ${header})
	find_library(${library}_LIBRARY ${library})
	mark_as_advanced(${library}_INCLUDE_DIR ${library}_LIBRARY)
	if(NOT ${library}_INCLUDE_DIR OR NOT ${library}_LIBRARY)
		message(FATAL_ERROR "lib${library} and <${header}> are needed: install ${package}")
	endif()
endfunction()

require_rdma_library(ibverbs infiniband/verbs.h "libibverbs-dev (Debian) or rdma-core-devel (Fedora)")
require_rdma_library(rdmacm rdma/rdma_cma.h "librdmacm-dev (Debian) or rdma-core-devel (Fedora)")
