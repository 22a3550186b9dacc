# SPDX-License-Identifier: BSD-3-Clause
#
# librpma::librpma, the shared library. The C compiler links it, not rustc: rustc hands the linker a
# version script of its own, and no linker combines that well with the one of librpma.

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

# The aliases stay one jump each (-O2), are seen by the linker as they are (no LTO, whose objects hide
# .symver), and do not make the library's functions hidden when CFLAGS say so.
target_compile_options(rpma PRIVATE -O2 -fno-lto -fvisibility=default)

target_link_options(rpma PRIVATE
	LINKER:--whole-archive,${rpma_archive},--no-whole-archive
	LINKER:--gc-sections
	LINKER:--version-script=${rpma_map}
	LINKER:--no-undefined-version
	LINKER:-z,relro
	LINKER:-z,now
	# Calls inside the library, those of the aliases too, go to its own functions and not through the
	# PLT, where another library's function of that name could step in.
	LINKER:-Bsymbolic-functions
	# Rust's backtraces use the unwinder. Its static form keeps libgcc_s.so out of every C program.
	-static-libgcc
	# The archive has LLVM bitcode of Rust's standard library beside its code, which the linker plugin of
	# another LLVM would not understand.
	-fno-lto)
if(CMAKE_BUILD_TYPE MATCHES "^(Release|MinSizeRel)$")
	target_link_options(rpma PRIVATE LINKER:--strip-all)
endif()
# The runtime of a sanitizer is in the program, so a library that was made for one lacks its symbols.
if(NOT CMAKE_C_FLAGS MATCHES "-fsanitize=")
	target_link_options(rpma PRIVATE LINKER:-z,defs)
endif()

# Of the libraries that rustc lists for an archive (-lgcc_s -lutil -lrt -lpthread -lm -ldl -lc), only
# threads and dl hold something that librpma needs, and only before glibc 2.34.
target_link_libraries(rpma PRIVATE
	${RPMA_ibverbs_LIBRARY} ${RPMA_rdmacm_LIBRARY} -Wl,--as-needed -lpthread -ldl)
