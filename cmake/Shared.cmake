# SPDX-License-Identifier: BSD-3-Clause
#
# librpma::librpma, the shared library. The C compiler links it, not rustc: rustc passes its own version script to
# the linker, and no linker combines two version scripts well.

add_library(rpma SHARED ${rpma_older_nodes})
add_library(librpma::librpma ALIAS rpma)
add_dependencies(rpma rpma_cargo)
set_target_properties(rpma PROPERTIES
	VERSION 0
	SOVERSION 0
	EXPORT_NAME librpma
	# Whatever RPATH a surrounding project wants for its programs: the library needs none.
	SKIP_BUILD_RPATH ON
	INSTALL_RPATH ""
	INSTALL_RPATH_USE_LINK_PATH OFF
	LINK_DEPENDS "${rpma_archive};${rpma_map}")
target_include_directories(rpma PUBLIC $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/include>)

# The aliases are one jump each (-O2). LTO is off, as its objects hide .symver from the linker, and the default
# visibility is set so that CFLAGS cannot hide the library's functions.
target_compile_options(rpma PRIVATE -O2 -fno-lto -fvisibility=default)

target_link_options(rpma PRIVATE
	LINKER:--whole-archive,${rpma_archive},--no-whole-archive
	LINKER:--gc-sections
	LINKER:--version-script=${rpma_map}
	LINKER:--no-undefined-version
	LINKER:-z,relro
	LINKER:-z,now
	# Calls inside the library, those of the aliases too, go to its own functions and not through the
	# PLT, where a function of the same name in another library could replace them.
	LINKER:-Bsymbolic-functions
	# Rust's backtraces use the unwinder. Its static form keeps libgcc_s.so out of every C program.
	-static-libgcc
	# The archive has LLVM bitcode of Rust's standard library beside its code, which the linker plugin of
	# another LLVM would not understand.
	-fno-lto)
if(CMAKE_BUILD_TYPE MATCHES "^(Release|MinSizeRel)$")
	target_link_options(rpma PRIVATE LINKER:--strip-all)
endif()
# The runtime of a sanitizer is in the program, so a library that is built for a sanitizer has undefined symbols.
if(NOT CMAKE_C_FLAGS MATCHES "-fsanitize=")
	target_link_options(rpma PRIVATE LINKER:-z,defs)
endif()

# Of the libraries that rustc lists for an archive (-lgcc_s -lutil -lrt -lpthread -lm -ldl -lc), only
# threads and dl hold something that librpma needs, and only before glibc 2.34.
target_link_libraries(rpma PRIVATE
	${RPMA_ibverbs_LIBRARY} ${RPMA_rdmacm_LIBRARY} -Wl,--as-needed -lpthread -ldl)
