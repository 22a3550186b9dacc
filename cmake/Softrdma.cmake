# SPDX-License-Identifier: BSD-3-Clause
#
# softrdma, the RDMA device in user space: the command, its library and its manual page. The build directory has
# the same layout as the prefix (bin and lib), so that the command also works there.
#
#   softrdma_cargo    target: always runs cargo, as rpma_cargo does, and after it: the two share cargo's
#                     directory, which only one can use at a time

get_filename_component(softrdma_dir ${rpma_archive} DIRECTORY)
set(softrdma ${CMAKE_CURRENT_BINARY_DIR}/bin/softrdma)
set(libsoftrdma ${CMAKE_CURRENT_BINARY_DIR}/lib/libsoftrdma.so)

add_custom_target(softrdma_cargo ALL
	COMMAND ${run_cargo} build --package softrdma --lib --bins
		--profile ${profile} --target-dir ${cargo_dir} ${cargo_flags}
	COMMAND ${CMAKE_COMMAND} -E make_directory
		${CMAKE_CURRENT_BINARY_DIR}/bin ${CMAKE_CURRENT_BINARY_DIR}/lib
	COMMAND ${CMAKE_COMMAND} -E copy_if_different ${softrdma_dir}/softrdma ${softrdma}
	COMMAND ${CMAKE_COMMAND} -E copy_if_different ${softrdma_dir}/libsoftrdma.so ${libsoftrdma}
	BYPRODUCTS ${softrdma} ${libsoftrdma}
	WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}
	COMMENT "Compiling softrdma (profile ${profile})"
	USES_TERMINAL VERBATIM)
add_dependencies(softrdma_cargo rpma_cargo)

if(NOT RPMA_INSTALL)
	return()
endif()
install(PROGRAMS ${softrdma} DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT softrdma)
# A directory of its own, which no linker and no ldconfig looks into: only the dynamic loader opens the library,
# by its path, so it has no version. The command looks for it in softrdma below ../lib, ../lib64 and
# ../lib/<multiarch>.
install(FILES ${libsoftrdma} DESTINATION ${CMAKE_INSTALL_LIBDIR}/softrdma COMPONENT softrdma)
install(FILES doc/man/softrdma.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT softrdma)
