# SPDX-License-Identifier: BSD-3-Clause
#
# rpma-info and rpma-perf, the commands to look at a machine and to measure a connection. They use librpma as any C
# program does, dynamically linked. In the build directory they stand in bin, and find librpma with LD_LIBRARY_PATH.
#
#   tools_cargo    target: runs cargo, always, as rpma_cargo does, and after softrdma_cargo: all of them share
#                  cargo's directory, which only one can use at a time

get_filename_component(tools_dir ${rpma_archive} DIRECTORY)
set(tools)
set(copy_tools)
foreach(tool rpma-info rpma-perf)
	set(built ${CMAKE_CURRENT_BINARY_DIR}/bin/${tool})
	list(APPEND tools ${built})
	list(APPEND copy_tools COMMAND ${CMAKE_COMMAND} -E copy_if_different ${tools_dir}/${tool} ${built})
endforeach()

add_custom_target(tools_cargo ALL
	COMMAND ${CMAKE_COMMAND} -E env CC=${CMAKE_C_COMPILER}
		${run_cargo} build --package rpma-tools --bins
		--profile ${profile} --target-dir ${cargo_dir} ${cargo_flags}
	COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_CURRENT_BINARY_DIR}/bin
	${copy_tools}
	BYPRODUCTS ${tools}
	WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}
	COMMENT "Compiling rpma-info and rpma-perf (profile ${profile})"
	USES_TERMINAL VERBATIM)
add_dependencies(tools_cargo rpma_cargo)
if(TARGET softrdma_cargo)
	add_dependencies(tools_cargo softrdma_cargo)
endif()

if(NOT RPMA_INSTALL)
	return()
endif()
install(PROGRAMS ${tools} DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT tools)
install(FILES doc/man/rpma-info.1 doc/man/rpma-perf.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT tools)
