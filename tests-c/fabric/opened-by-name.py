# SPDX-License-Identifier: BSD-3-Clause
"""Opens libibverbs and librdmacm as Python's ctypes does; softrdma must be there under both names.

    softrdma run -- python3 opened-by-name.py
"""

import ctypes

verbs = ctypes.CDLL("libibverbs.so.1", use_errno=True)
cm = ctypes.CDLL("librdmacm.so.1", use_errno=True)

get_list = verbs.ibv_get_device_list
get_list.restype = ctypes.POINTER(ctypes.c_void_p)
get_name = verbs.ibv_get_device_name
get_name.argtypes = [ctypes.c_void_p]
get_name.restype = ctypes.c_char_p
free_list = verbs.ibv_free_device_list
free_list.argtypes = [ctypes.POINTER(ctypes.c_void_p)]

count = ctypes.c_int()
devices = get_list(ctypes.byref(count))
names = [get_name(devices[index]) for index in range(count.value)]
free_list(devices)
assert names == [b"softrdma0"], names

create = cm.rdma_create_event_channel
create.restype = ctypes.c_void_p
channel = create()
assert channel
cm.rdma_destroy_event_channel.argtypes = [ctypes.c_void_p]
cm.rdma_destroy_event_channel(channel)
