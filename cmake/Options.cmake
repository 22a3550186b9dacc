# SPDX-License-Identifier: BSD-3-Clause
#
# The options, all of them with the prefix RPMA_, so that none is one of another project that this one is a
# part of. What is built besides the library, and installing, is on by default only at the top level.
#
# At the top level each option can also be given by its older name, the one without the prefix. The older name
# is moved to the new one, so that the last one given on a command line is the one that counts.

if(CMAKE_SOURCE_DIR STREQUAL CMAKE_CURRENT_SOURCE_DIR)
	set(rpma_is_top_level ON)
else()
	set(rpma_is_top_level OFF)
endif()

function(rpma_option name type default description)
	set(RPMA_${name} "${default}" CACHE ${type} "${description}")
	# Not the environment, nor a variable of this scope: what -DNAME=VALUE left in the cache.
	get_property(has_older_name CACHE ${name} PROPERTY VALUE SET)
	if(rpma_is_top_level AND has_older_name)
		# CMake warns of options on its command line that no project reads as a variable.
		set(read_once "${${name}}")
		set(RPMA_${name} "$CACHE{${name}}" CACHE ${type} "${description}" FORCE)
		unset(${name} CACHE)
	endif()
endfunction()

rpma_option(BUILD_EXAMPLES BOOL ${rpma_is_top_level} "build the examples in examples-c")
rpma_option(BUILD_TESTS BOOL ${rpma_is_top_level} "build the tests in tests-c (run them with ctest)")
rpma_option(BUILD_SOFTRDMA BOOL ${rpma_is_top_level} "build softrdma, to run RDMA programs without a device")
rpma_option(BUILD_TOOLS BOOL ${rpma_is_top_level} "build rpma-info and rpma-perf")
rpma_option(INSTALL BOOL ${rpma_is_top_level} "install the library and what else is built")
rpma_option(CARGO_FLAGS STRING "$ENV{CARGO_FLAGS}" "more options for every call of cargo, for example --offline")
rpma_option(RUST_TARGET STRING "" "Rust's name of the platform to build for, when cross-compiling")
rpma_option(RUSTC_FLAGS STRING "" "more options for rustc, for the library alone")
rpma_option(CARGO FILEPATH "" "Rust's cargo; searched for when empty")

if(NOT CMAKE_BUILD_TYPE)
	if(rpma_is_top_level)
		set(CMAKE_BUILD_TYPE Release CACHE STRING "Release, RelWithDebInfo or Debug" FORCE)
	else()
		# For this directory and those below it only.
		set(CMAKE_BUILD_TYPE Release)
	endif()
endif()
