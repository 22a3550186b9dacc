/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * documentation-addresses: an address set aside for documentation leads nowhere, whatever the routes say; but one
 * that an interface of this host has is as good as any other. In a network namespace of its own.
 *
 *   softrdma run -- documentation-addresses
 */
#define _GNU_SOURCE
#include <errno.h>
#include <net/if.h>
#include <net/route.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "two-processes.h"

#define OWN "192.0.2.1"
#define NOT_OWN "203.0.113.1"

static void
give_address(int fd, const char *interface, const char *address)
{
	struct sockaddr_storage parsed;
	struct ifreq request = {0};

	parse_address(&parsed, address, 0);
	strcpy(request.ifr_name, interface);
	memcpy(&request.ifr_addr, &parsed, sizeof(request.ifr_addr));
	if (ioctl(fd, SIOCSIFADDR, &request))
		skip_because("setting an address");
	request.ifr_flags = IFF_UP | IFF_RUNNING;
	if (ioctl(fd, SIOCSIFFLAGS, &request))
		skip_because("starting the loopback interface");
}

/* everything goes to the loopback interface */
static void
make_default_route(int fd)
{
	struct sockaddr_storage any;
	struct rtentry route = {.rt_flags = RTF_UP, .rt_dev = "lo"};

	parse_address(&any, "0.0.0.0", 0);
	memcpy(&route.rt_dst, &any, sizeof(route.rt_dst));
	memcpy(&route.rt_genmask, &any, sizeof(route.rt_genmask));
	if (ioctl(fd, SIOCADDRT, &route))
		skip_because("making a route");
}

static int
resolves(struct rdma_event_channel *channel, const char *from, const char *to)
{
	struct sockaddr_storage source, destination;
	struct rdma_cm_event *event;
	struct rdma_cm_id *id;
	int errno_of_call = 0;

	parse_address(&destination, to, 7);
	if (from)
		parse_address(&source, from, 0);
	CHECK(rdma_create_id(channel, &id, NULL, RDMA_PS_TCP) == 0);
	if (rdma_resolve_addr(id, from ? (struct sockaddr *)&source : NULL,
			(struct sockaddr *)&destination, wait_ms())) {
		errno_of_call = errno;
	} else {
		event = next_event(channel, wait_ms());
		CHECK(event && event->event == RDMA_CM_EVENT_ADDR_RESOLVED);
		CHECK(rdma_ack_cm_event(event) == 0);
	}
	CHECK(rdma_destroy_id(id) == 0);

	return errno_of_call;
}

int
main(void)
{
	struct rdma_event_channel *channel;
	int fd;

	if (unshare(CLONE_NEWUSER | CLONE_NEWNET))
		skip_because("a network namespace");
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0);
	give_address(fd, "lo", "127.0.0.1");
	give_address(fd, "lo:1", OWN);
	make_default_route(fd);
	close(fd);

	channel = open_channel();
	CHECK(resolves(channel, NULL, OWN) == 0);
	CHECK(resolves(channel, OWN, OWN) == 0);
	CHECK(resolves(channel, "127.0.0.1", OWN) == 0);
	CHECK(resolves(channel, NULL, NOT_OWN) == ENETUNREACH);
	CHECK(resolves(channel, "127.0.0.1", NOT_OWN) == ENETUNREACH);
	rdma_destroy_event_channel(channel);
	return 0;
}
