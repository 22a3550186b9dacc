# SPDX-License-Identifier: BSD-3-Clause
#
# Writes, from abi/functions.tsv:
#
#   ${rpma_map}           the version map of the shared library
#   ${rpma_older_nodes}   a C file with the aliases of the older version nodes
#   ${rpma_names}         the names of the functions, one a line
#
# librpma 0.10 to 0.14 had a version node for each release, all others had LIBRPMA_1.0. Here every
# function has the default version LIBRPMA_1.0, and an alias in each older node that had it, so that programs
# built with any release find their symbols.

set(functions_tsv ${CMAKE_CURRENT_SOURCE_DIR}/abi/functions.tsv)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${functions_tsv})
set(rpma_map ${CMAKE_CURRENT_BINARY_DIR}/librpma.map)
set(rpma_older_nodes ${CMAKE_CURRENT_BINARY_DIR}/older-nodes.c)
set(rpma_names ${CMAKE_CURRENT_BINARY_DIR}/functions.txt)

set(nodes)
set(names)
set(default_node)
set(aliases)
file(STRINGS ${functions_tsv} lines REGEX "^rpma_")
foreach(line IN LISTS lines)
	# name, first release, last release, older nodes, prototype
	if(NOT line MATCHES "^([a-z0-9_]+)\t[0-9.]+\t[0-9.]+\t([^\t]+)\t(.*\\))$")
		message(FATAL_ERROR "abi/functions.tsv: not understood: ${line}")
	endif()
	set(name ${CMAKE_MATCH_1})
	set(prototype "${CMAKE_MATCH_3}")
	string(REGEX MATCHALL "LIBRPMA_[0-9.]+" older "${CMAKE_MATCH_2}")

	# The names of the arguments: the last word before each comma and before the closing parenthesis.
	string(REGEX MATCHALL "[a-z0-9_]+(\\[[0-9]*\\])?[,)]" arguments "${prototype}")
	string(REGEX REPLACE "(\\[[0-9]*\\])?[,)]" "" arguments "${arguments}")
	string(REPLACE ";" ", " arguments "${arguments}")

	string(APPEND names "${name}\n")
	string(APPEND default_node "\t\t${name};\n")
	foreach(node IN LISTS older)
		# Each alias is a separate function: an alias in the object of the function itself makes
		# GNU ld drop the default version, and older assemblers refuse two aliases of one symbol.
		string(MAKE_C_IDENTIFIER "${name}@${node}" alias)
		string(REPLACE "${name}(" "${alias}(" alias_prototype "${prototype}")
		string(APPEND aliases
			"\n${alias_prototype}\n{\n\treturn ${name}(${arguments});\n}\n"
			"__asm__(\".symver ${alias}, ${name}@${node}, remove\");\n")
	endforeach()
	list(APPEND nodes ${older})
endforeach()
list(REMOVE_DUPLICATES nodes)
list(SORT nodes)

# The older nodes are empty here: their members are named by the .symver lines.
set(map)
foreach(node IN LISTS nodes)
	string(APPEND map "${node} {\n};\n")
endforeach()
string(APPEND map "LIBRPMA_1.0 {\n\tglobal:\n${default_node}\tlocal:\n\t\t*;\n};\n")

# file(GENERATE) does not rewrite a file whose content is the same.
file(GENERATE OUTPUT ${rpma_map} CONTENT "${map}")
file(GENERATE OUTPUT ${rpma_names} CONTENT "${names}")
file(GENERATE OUTPUT ${rpma_older_nodes} CONTENT
	"/* Made from abi/functions.tsv. */\n#include <librpma.h>\n${aliases}")
