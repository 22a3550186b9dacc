# SPDX-License-Identifier: BSD-3-Clause
#
# Finds the development files of libibverbs and librdmacm, so that missing ones are reported here and not by an
# error of the Rust or the C compiler.

function(require_rdma_library library header package)
	find_path(RPMA_${library}_INCLUDE_DIR ${header})
	find_library(RPMA_${library}_LIBRARY ${library})
	mark_as_advanced(RPMA_${library}_INCLUDE_DIR RPMA_${library}_LIBRARY)
	if(NOT RPMA_${library}_INCLUDE_DIR OR NOT RPMA_${library}_LIBRARY)
		message(FATAL_ERROR "lib${library} and <${header}> are needed: install ${package}")
	endif()
endfunction()

require_rdma_library(ibverbs infiniband/verbs.h "libibverbs-dev (Debian) or rdma-core-devel (Fedora)")
require_rdma_library(rdmacm rdma/rdma_cma.h "librdmacm-dev (Debian) or rdma-core-devel (Fedora)")
