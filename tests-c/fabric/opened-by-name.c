/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * opened-by-name: opens libibverbs and librdmacm with dlopen and looks their functions up with
 * dlsym and dlvsym. It must reach softrdma, which is loaded once, whatever the name. With LINKED it is linked with
 * libibverbs as well, and must find the same functions.
 *
 *   softrdma run -- opened-by-name
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

#define CHECK(is_true) do { \
	if (!(is_true)) { \
		fprintf(stderr, "%s:%d: not so: %s (errno: %s)\n", __FILE__, __LINE__, #is_true, \
				strerror(errno)); \
		exit(1); \
	} \
} while (0)

static void *
opened(const char *name)
{
	void *handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);

	if (!handle) {
		fprintf(stderr, "%s\n", dlerror());
		exit(1);
	}
	return handle;
}

/* where it is loaded */
static void *
place(void *function)
{
	Dl_info info;

	CHECK(function && dladdr(function, &info) && info.dli_fbase);
	return info.dli_fbase;
}

/* the function of a name, by dlsym and in a version */
static void *
found(void *library, const char *name, const char *version)
{
	void *function = dlsym(library, name);

	CHECK(function);
	if (dlvsym(library, name, version) != function) {
		fprintf(stderr, "%s is not what it is in version %s\n", name, version);
		exit(1);
	}
	return function;
}

static void
the_device(void *verbs)
{
	struct ibv_device **(*get_list)(int *) = (struct ibv_device **(*)(int *))
			found(verbs, "ibv_get_device_list", "IBVERBS_1.1");
	void (*free_list)(struct ibv_device **) = (void (*)(struct ibv_device **))
			found(verbs, "ibv_free_device_list", "IBVERBS_1.1");
	const char *(*get_name)(struct ibv_device *) = (const char *(*)(struct ibv_device *))
			found(verbs, "ibv_get_device_name", "IBVERBS_1.1");
	int count = 0;
	struct ibv_device **list = get_list(&count);

	CHECK(list && count == 1 && strcmp(get_name(list[0]), "softrdma0") == 0);
	free_list(list);
}

static void
a_channel(void *cm)
{
	struct rdma_event_channel *(*create)(void) = (struct rdma_event_channel *(*)(void))
			found(cm, "rdma_create_event_channel", "RDMACM_1.0");
	void (*destroy)(struct rdma_event_channel *) = (void (*)(struct rdma_event_channel *))
			found(cm, "rdma_destroy_event_channel", "RDMACM_1.0");
	struct rdma_event_channel *channel = create();

	CHECK(channel);
	destroy(channel);
}

/* functions that fail, with a line on standard error: of the first ABI, of drivers, and one of what is not there */
static void
what_is_not_there(void *verbs, void *cm)
{
	void *(*list_of_2006)(int *) = (void *(*)(int *))dlvsym(verbs, "ibv_get_device_list", "IBVERBS_1.0");
	int (*of_drivers)(void *, int) = (int (*)(void *, int))
			found(verbs, "ibv_cmd_get_context", "IBVERBS_PRIVATE_34");
	int (*listen_to_sockets)(int, int) = (int (*)(int, int))found(cm, "rlisten", "RDMACM_1.0");

	CHECK(list_of_2006 && place((void *)list_of_2006) == place(dlsym(cm, "rdma_create_id")));
	errno = 0;
	CHECK(!list_of_2006(NULL) && errno == EOPNOTSUPP);
	CHECK(of_drivers(NULL, 0) == EOPNOTSUPP);
	CHECK(listen_to_sockets(0, 1) == -1 && errno == ENOSYS);
}

int
main(void)
{
	void *verbs = opened("libibverbs.so.1");
	void *cm = opened("librdmacm.so.1");

#ifdef LINKED
	CHECK(dlsym(verbs, "ibv_get_device_list") == (void *)ibv_get_device_list);
	CHECK(dlsym(cm, "rdma_create_id") == (void *)rdma_create_id);
#endif
	CHECK(place(dlsym(verbs, "ibv_get_device_list")) == place(dlsym(cm, "rdma_create_id")));
	CHECK(place(dlsym(RTLD_DEFAULT, "ibv_get_device_list")) == place(dlsym(cm, "rdma_create_id")));
	the_device(verbs);
	a_channel(cm);
	what_is_not_there(verbs, cm);
	CHECK(dlclose(verbs) == 0 && dlclose(cm) == 0);
	return 0;
}
