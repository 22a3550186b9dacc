# SPDX-License-Identifier: BSD-3-Clause
#
# Compiles the Rust library to an archive.
#
#   rpma_cargo        target: always runs cargo, because only cargo knows whether a source changed;
#                     if none did, the archive keeps its time stamp and nothing is linked again
#   ${rpma_archive}   the archive, which includes Rust's standard library

if(RPMA_CARGO)
	set(cargo ${RPMA_CARGO})
else()
	find_program(RPMA_CARGO_FOUND cargo HINTS $ENV{CARGO_HOME}/bin $ENV{HOME}/.cargo/bin NO_CMAKE_FIND_ROOT_PATH
		DOC "Rust's cargo")
	mark_as_advanced(RPMA_CARGO_FOUND)
	set(cargo ${RPMA_CARGO_FOUND})
endif()
if(NOT cargo)
	message(FATAL_ERROR "cargo is needed to build librpma: install Rust, or say where it is with "
		"-DRPMA_CARGO=/path/to/cargo")
endif()
separate_arguments(cargo_flags UNIX_COMMAND "${RPMA_CARGO_FLAGS}")
separate_arguments(rustc_flags UNIX_COMMAND "${RPMA_RUSTC_FLAGS}")

# Debug is cargo's profile dev; every other type is its profile release. RelWithDebInfo and None (which is for
# distributions that strip binaries themselves) keep debug information.
if(CMAKE_BUILD_TYPE STREQUAL "Debug")
	set(profile dev)
	set(profile_dir debug)
else()
	set(profile release)
	set(profile_dir release)
	if(NOT CMAKE_BUILD_TYPE MATCHES "^(Release|MinSizeRel)$")
		list(APPEND cargo_flags --config profile.release.debug=true
			--config profile.release.strip=false)
	endif()
endif()
# A release build contains no names of the builder's directories and compiles no crate twice. With link-time
# optimisation by cargo, the crates that both packages use would be compiled twice: as bitcode only for the archive,
# and with machine code for softrdma. So rustc, not cargo, does the link-time optimisation of the archive.
# CARGO_BUILD_TARGET is unset because it would move the archive to another directory.
set(run_cargo ${CMAKE_COMMAND} -E env --unset=CARGO_BUILD_TARGET)
if(CMAKE_BUILD_TYPE MATCHES "^(Debug|RelWithDebInfo)$")
	list(APPEND run_cargo ${cargo})
else()
	list(APPEND run_cargo sh ${CMAKE_CURRENT_SOURCE_DIR}/cmake/run-cargo ${cargo} ${CMAKE_CURRENT_BINARY_DIR})
	list(APPEND cargo_flags --config profile.release.lto=false)
	list(PREPEND rustc_flags -Clto=fat)
	# The last match wins, and the build directory is often below the source directory.
	add_compile_options(-ffile-prefix-map=${CMAKE_CURRENT_SOURCE_DIR}=.
		-ffile-prefix-map=${CMAKE_CURRENT_BINARY_DIR}=build)
endif()
# A panic must not unwind into a C program, in any profile.
list(APPEND cargo_flags --config profile.${profile}.panic="abort")

if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/Cargo.lock)
	list(APPEND cargo_flags --locked)
endif()
if(RPMA_RUST_TARGET)
	list(APPEND cargo_flags --target ${RPMA_RUST_TARGET})
endif()

set(cargo_dir ${CMAKE_CURRENT_BINARY_DIR}/cargo)
set(rpma_archive ${cargo_dir}/${RPMA_RUST_TARGET}/${profile_dir}/librpma.a)
string(REPLACE "//" "/" rpma_archive ${rpma_archive})

add_custom_target(rpma_cargo ALL
	COMMAND ${run_cargo} rustc --package rpma --lib --crate-type staticlib
		--profile ${profile} --target-dir ${cargo_dir} ${cargo_flags} -- ${rustc_flags}
	BYPRODUCTS ${rpma_archive}
	WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}
	COMMENT "Compiling the Rust library (profile ${profile})"
	USES_TERMINAL VERBATIM)
