# SPDX-License-Identifier: BSD-3-Clause
#
# Pairs of processes on plain verbs. They run on any device whose address they are given; as tests, with
# the label softrdma, on the one in user space.

foreach(program kill many big copy silent cm)
	set(target softrdma-${program})
	add_executable(${target} ${target}.c softrdma-pair.c)
	target_compile_features(${target} PRIVATE c_std_11)
	target_compile_options(${target} PRIVATE -Wall -Wextra)
	target_link_libraries(${target} PRIVATE PkgConfig::RDMACM PkgConfig::IBVERBS Threads::Threads)
	if(TARGET softrdma_cargo)
		add_test(NAME ${target} COMMAND ${softrdma} run -- $<TARGET_FILE:${target}>)
		list(APPEND softrdma_tests ${target})
	endif()
endforeach()

# once more where the frames take another way: with IPv6, and on TCP all the time
if(TARGET softrdma_cargo)
	foreach(program kill many big)
		set(target softrdma-${program})
		add_test(NAME ${target}-v6 COMMAND ${softrdma} run -- $<TARGET_FILE:${target}> ::1)
		add_test(NAME ${target}-socket COMMAND ${softrdma} run -- $<TARGET_FILE:${target}>)
		set_tests_properties(${target}-socket PROPERTIES ENVIRONMENT SOFTRDMA_SOCKET_ONLY=1)
		list(APPEND softrdma_tests ${target}-v6 ${target}-socket)
	endforeach()
	set_tests_properties(${softrdma_tests} PROPERTIES LABELS softrdma SKIP_RETURN_CODE 77
		RUN_SERIAL TRUE TIMEOUT 300)
endif()

# the soak: librpma's own interface, on any device
add_executable(soak soak.c soak-session.c soak-serve.c soak-work.c softrdma-pair.c)
target_compile_features(soak PRIVATE c_std_11)
target_compile_options(soak PRIVATE -Wall -Wextra)
target_link_libraries(soak PRIVATE ${rpma} PkgConfig::RDMACM PkgConfig::IBVERBS Threads::Threads)
target_link_options(soak PRIVATE LINKER:--enable-new-dtags)
