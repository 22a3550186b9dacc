/* SPDX-License-Identifier: BSD-3-Clause */
#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#include "door.h"

static void
hex(char *text, const uint8_t *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		sprintf(text + 2 * i, "%02x", bytes[i]);
}

struct invited
get_invited(const char *address, unsigned port)
{
	struct sockaddr_storage server;
	struct sockaddr_in client;
	socklen_t length = sizeof(client);
	struct wire_hello hello = wire_hello(WIRE_REQUEST, "", 0);
	uint8_t addresses[32] = {0};
	struct invited invited = {.door.sun_family = AF_UNIX};
	char *name = invited.door.sun_path + 1;

	parse_address(&server, address, port);
	invited.tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(invited.tcp >= 0);
	CHECK(connect(invited.tcp, (struct sockaddr *)&server, sizeof(server)) == 0);
	CHECK(getsockname(invited.tcp, (struct sockaddr *)&client, &length) == 0);
	CHECK(send(invited.tcp, &hello, sizeof(hello), 0) == sizeof(hello));
	CHECK(recv(invited.tcp, &hello, sizeof(hello), MSG_WAITALL) == sizeof(hello));
	CHECK(hello.greeting == WIRE_REPLY && hello.invited == 1);

	strcpy(name, WIRE_DOOR_PREFIX);
	hex(name + strlen(name), hello.invitation, WIRE_WORD);
	invited.door_length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
	memset(addresses + 10, 0xff, 2);
	memcpy(addresses + 12, &client.sin_addr, 4);
	memset(addresses + 26, 0xff, 2);
	memcpy(addresses + 28, &((struct sockaddr_in *)&server)->sin_addr, 4);
	wire_knock(invited.knock, hello.invitation + WIRE_WORD, addresses, ntohs(client.sin_port), (uint16_t)port);

	return invited;
}

int
connect_to_door(const struct invited *invited)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0);
	CHECK(connect(fd, (const struct sockaddr *)&invited->door, invited->door_length) == 0);

	return fd;
}

void
send_with(int to, const void *bytes, size_t size, int descriptor, unsigned count)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(MOST_DESCRIPTORS * sizeof(int))];
	} control;
	struct iovec range = {(void *)bytes, size};
	struct msghdr message = {.msg_iov = &range, .msg_iovlen = 1};

	if (count > 0) {
		memset(&control, 0, sizeof(control));
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(count * sizeof(int));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(count * sizeof(int));
		for (unsigned i = 0; i < count; i++)
			memcpy(CMSG_DATA(&control.header) + i * sizeof(int), &descriptor, sizeof(int));
	}
	if (sendmsg(to, &message, 0) < 0)
		CHECK(errno == EPIPE || errno == ECONNRESET);
}

int
make_memory(size_t size, unsigned seals)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	CHECK(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
	CHECK(fcntl(fd, F_ADD_SEALS, seals) == 0);

	return fd;
}
