# SPDX-License-Identifier: BSD-3-Clause
#
# Removes the files that `cmake --install` put there, and the directories of librpma that are empty then. CMake
# wrote their names into the build directory: into install_manifest.txt, or into one such file for each component
# that was installed on its own. DESTDIR has to be set as it was then.

file(GLOB manifests install_manifest*.txt)
if(NOT manifests)
	message(FATAL_ERROR "Nothing was installed from this build directory: it has no install_manifest.txt")
endif()
set(directories)
foreach(manifest IN LISTS manifests)
	file(STRINGS ${manifest} files)
	foreach(file IN LISTS files)
		set(file "$ENV{DESTDIR}${file}")
		if(EXISTS "${file}" OR IS_SYMLINK "${file}")
			message(STATUS "Removing ${file}")
			file(REMOVE "${file}")
			if(EXISTS "${file}" OR IS_SYMLINK "${file}")
				message(FATAL_ERROR "${file} cannot be removed")
			endif()
		endif()
		get_filename_component(directory "${file}" DIRECTORY)
		if(directory MATCHES "/(cmake/librpma|softrdma|softrdma/sonames)$")
			list(APPEND directories "${directory}")
		endif()
	endforeach()
	file(REMOVE "${manifest}")
endforeach()
list(REMOVE_DUPLICATES directories)
# A directory comes after those that are in it.
list(SORT directories ORDER DESCENDING)
foreach(directory IN LISTS directories)
	file(GLOB rest "${directory}/*")
	if(NOT rest)
		file(REMOVE_RECURSE "${directory}")
	endif()
endforeach()
