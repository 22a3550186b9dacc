# SPDX-License-Identifier: BSD-3-Clause
#
# cpack: archives of what is installed, one for each component. Packages for distributions are made from
# packaging/, with what belongs to them: the list of symbols, dependencies, upgrades.

set(CPACK_GENERATOR TGZ)
set(CPACK_PACKAGE_NAME librpma)
set(CPACK_PACKAGE_VENDOR "the authors of librpma")
set(CPACK_RESOURCE_FILE_LICENSE ${CMAKE_CURRENT_SOURCE_DIR}/LICENSE)
set(CPACK_STRIP_FILES OFF)
set(CPACK_ARCHIVE_COMPONENT_INSTALL ON)
set(CPACK_SOURCE_GENERATOR "")
string(TOLOWER
	"${PROJECT_NAME}-${PROJECT_VERSION}-${CMAKE_SYSTEM_NAME}-${CMAKE_SYSTEM_PROCESSOR}" CPACK_PACKAGE_FILE_NAME)
include(CPack)
