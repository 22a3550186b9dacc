# SPDX-License-Identifier: BSD-3-Clause
#
# softrdma, the RDMA device in user space: the command, its library and its manual page. The build directory has
# the same layout as the prefix (bin and lib), so that the command also works there.
#
#   softrdma_cargo    target: always runs cargo, as rpma_cargo does, and after it: the two share cargo's
#                     directory, which only one can use at a time
#   softrdma_library  target: libsoftrdma.so, linked from cargo's archive as librpma is, with the version nodes of
#                     libibverbs and librdmacm

get_filename_component(softrdma_dir ${rpma_archive} DIRECTORY)
set(softrdma ${CMAKE_CURRENT_BINARY_DIR}/bin/softrdma)
set(softrdma_archive ${softrdma_dir}/libsoftrdma.a)
set(softrdma_map ${CMAKE_CURRENT_SOURCE_DIR}/softrdma/libsoftrdma.map)
set(libsoftrdma ${CMAKE_CURRENT_BINARY_DIR}/lib/libsoftrdma.so)
set(softrdma_sonames ${CMAKE_CURRENT_BINARY_DIR}/lib/sonames)

add_custom_target(softrdma_cargo ALL
	COMMAND ${run_cargo} build --package softrdma --lib --bins
		--profile ${profile} --target-dir ${cargo_dir} ${cargo_flags}
	COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_CURRENT_BINARY_DIR}/bin
	COMMAND ${CMAKE_COMMAND} -E copy_if_different ${softrdma_dir}/softrdma ${softrdma}
	BYPRODUCTS ${softrdma} ${softrdma_archive}
	WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}
	COMMENT "Compiling softrdma (profile ${profile})"
	USES_TERMINAL VERBATIM)
add_dependencies(softrdma_cargo rpma_cargo)

# For the options see Shared.cmake. The library has no name of its own (DT_SONAME): it is loaded by its path, or
# under the names of the two libraries.
add_library(softrdma_library MODULE softrdma/ibverbs-1.0.c)
add_dependencies(softrdma_library softrdma_cargo)
set_target_properties(softrdma_library PROPERTIES
	OUTPUT_NAME softrdma
	LIBRARY_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/lib
	SKIP_BUILD_RPATH ON
	INSTALL_RPATH ""
	LINK_DEPENDS "${softrdma_archive};${softrdma_map}")
target_compile_options(softrdma_library PRIVATE -O2 -fno-lto -fvisibility=default)
target_link_options(softrdma_library PRIVATE
	LINKER:--whole-archive,${softrdma_archive},--no-whole-archive
	LINKER:--gc-sections
	LINKER:--version-script=${softrdma_map}
	LINKER:--no-undefined-version
	LINKER:-z,relro
	LINKER:-z,now
	-static-libgcc
	-fno-lto)
if(CMAKE_BUILD_TYPE MATCHES "^(Release|MinSizeRel)$")
	target_link_options(softrdma_library PRIVATE LINKER:--strip-all)
endif()
if(NOT CMAKE_C_FLAGS MATCHES "-fsanitize=")
	target_link_options(softrdma_library PRIVATE LINKER:-z,defs)
endif()
target_link_libraries(softrdma_library PRIVATE -Wl,--as-needed -lpthread -ldl -lm)

# Both names lead to the one file, of which the dynamic loader loads one copy.
foreach(name libibverbs.so.1 librdmacm.so.1)
	add_custom_command(TARGET softrdma_library POST_BUILD
		COMMAND ${CMAKE_COMMAND} -E make_directory ${softrdma_sonames}
		COMMAND ${CMAKE_COMMAND} -E create_symlink ../libsoftrdma.so ${softrdma_sonames}/${name}
		VERBATIM)
endforeach()

if(NOT RPMA_INSTALL)
	return()
endif()
install(PROGRAMS ${softrdma} DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT softrdma)
# A directory of its own, which no linker and no ldconfig looks into: the command looks for the library in softrdma
# below ../lib, ../lib64 and ../lib/<multiarch>.
install(FILES ${libsoftrdma} DESTINATION ${CMAKE_INSTALL_LIBDIR}/softrdma COMPONENT softrdma)
install(FILES ${softrdma_sonames}/libibverbs.so.1 ${softrdma_sonames}/librdmacm.so.1
	DESTINATION ${CMAKE_INSTALL_LIBDIR}/softrdma/sonames COMPONENT softrdma)
install(FILES softrdma/valgrind.supp softrdma/tsan.supp
	DESTINATION ${CMAKE_INSTALL_DATADIR}/softrdma COMPONENT softrdma)
install(FILES doc/man/softrdma.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT softrdma)
