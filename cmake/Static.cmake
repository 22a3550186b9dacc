# SPDX-License-Identifier: BSD-3-Clause
#
# librpma::librpma_static, the static library. Cargo's archive contains thousands of symbols of Rust's standard
# library and its compiler's runtime, which clash with those of another Rust archive in the same program. So the
# archive is linked into one object, in which only librpma's functions stay global.

set(rpma_static ${CMAKE_CURRENT_BINARY_DIR}/librpma.a)
set(object ${CMAKE_CURRENT_BINARY_DIR}/librpma.o)
file(STRINGS ${functions_tsv} lines REGEX "^rpma_")
set(wanted)
foreach(line IN LISTS lines)
	string(REGEX MATCH "^[a-z0-9_]+" name "${line}")
	list(APPEND wanted -Wl,-u,${name})
endforeach()

set(strip)
if(CMAKE_BUILD_TYPE MATCHES "^(Release|MinSizeRel)$")
	set(strip --strip-unneeded)
endif()

# GNU ld, because no other combines -r with --gc-sections. --force-group-allocation dissolves the groups
# that linkers merge by name: merged with another archive's, they would leave references to nothing.
#
# The sections .llvm* hold LLVM bitcode of Rust's standard library. It is not needed, and makes ar and nm crash that
# use the plugin of an older LLVM.
add_custom_command(OUTPUT ${rpma_static}
	COMMAND ${CMAKE_C_COMPILER} -fuse-ld=bfd -r -nostdlib -Wl,--gc-sections
		-Wl,--force-group-allocation ${wanted} ${rpma_archive} -o ${object}
	COMMAND ${CMAKE_OBJCOPY} --keep-global-symbols=${rpma_names} ${strip}
		--remove-section=.llvmbc --remove-section=.llvmcmd ${object}
	COMMAND ${CMAKE_COMMAND} -E remove -f ${rpma_static}
	COMMAND ${CMAKE_AR} rcs ${rpma_static} ${object}
	DEPENDS ${rpma_archive} ${rpma_names}
	COMMENT "Making librpma.a"
	VERBATIM)
add_custom_target(rpma_static ALL DEPENDS ${rpma_static})
add_dependencies(rpma_static rpma_cargo)

add_library(librpma::librpma_static STATIC IMPORTED GLOBAL)
add_dependencies(librpma::librpma_static rpma_static)
set_target_properties(librpma::librpma_static PROPERTIES
	IMPORTED_LOCATION ${rpma_static}
	INTERFACE_INCLUDE_DIRECTORIES ${CMAKE_CURRENT_SOURCE_DIR}/include
	INTERFACE_LINK_LIBRARIES "${RPMA_ibverbs_LIBRARY};${RPMA_rdmacm_LIBRARY};pthread;dl")
