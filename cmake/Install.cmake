# SPDX-License-Identifier: BSD-3-Clause
#
# What `cmake --install` puts below the prefix. No installed file contains the prefix (except for /usr, see below),
# so it can be given at installation, and the tree can be moved.
#
# Components: Runtime (for running programs) and Development (for building them). softrdma is a separate component:
# see Softrdma.cmake.

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(CMAKE_INSTALL_DEFAULT_COMPONENT_NAME Development)
target_include_directories(rpma PUBLIC $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
install(TARGETS rpma EXPORT librpma-targets
	LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT Runtime NAMELINK_COMPONENT Development)
install(FILES ${rpma_static} DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES include/librpma.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

foreach(section 3 7)
	install(DIRECTORY doc/man/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section}
		FILES_MATCHING PATTERN "*.${section}")
endforeach()

# pkg-config: the prefix as seen from the .pc file itself, unless the directories are absolute; and not for /usr,
# whose directories pkg-config leaves out of compilers' options only when it sees their plain names.
if(CMAKE_INSTALL_PREFIX STREQUAL "/usr" OR IS_ABSOLUTE ${CMAKE_INSTALL_LIBDIR} OR IS_ABSOLUTE ${CMAKE_INSTALL_INCLUDEDIR})
	set(pc_prefix ${CMAKE_INSTALL_PREFIX})
	set(pc_libdir ${CMAKE_INSTALL_FULL_LIBDIR})
	set(pc_includedir ${CMAKE_INSTALL_FULL_INCLUDEDIR})
else()
	file(RELATIVE_PATH up /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
	string(REGEX REPLACE "/$" "" up ${up})
	set(pc_prefix "\${pcfiledir}/${up}")
	set(pc_libdir "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
	set(pc_includedir "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
endif()
configure_file(pkgconfig/librpma.pc.in librpma.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/librpma.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

# find_package(librpma)
set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/librpma)
configure_package_config_file(cmake/librpma-config.cmake.in librpma-config.cmake
	INSTALL_DESTINATION ${config_dir}
	PATH_VARS CMAKE_INSTALL_LIBDIR CMAKE_INSTALL_INCLUDEDIR)
write_basic_package_version_file(librpma-config-version.cmake COMPATIBILITY SameMajorVersion)
install(FILES
	${CMAKE_CURRENT_BINARY_DIR}/librpma-config.cmake
	${CMAKE_CURRENT_BINARY_DIR}/librpma-config-version.cmake
	DESTINATION ${config_dir})
install(EXPORT librpma-targets NAMESPACE librpma:: DESTINATION ${config_dir})

if(rpma_is_top_level)
	add_custom_target(uninstall
		COMMAND ${CMAKE_COMMAND} -P ${CMAKE_CURRENT_SOURCE_DIR}/cmake/uninstall.cmake
		WORKING_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}
		COMMENT "Removing what cmake --install put there"
		USES_TERMINAL VERBATIM)
endif()
