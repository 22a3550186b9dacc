/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * number-used-again [ADDRESS]: a process shares memory with a server, leaves its socket to another one and ends; then
 * a third process gets its number. The server must not copy from that one.
 *
 *   softrdma run -- number-used-again
 *
 * ADDRESS is an IPv4 address, 127.0.0.1 unless given. To choose the number of a process takes root, and for a server
 * to notice it takes Linux 6.5; otherwise it is skipped. PAIR_WAIT_MS: see two-processes.h.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "door.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

#define DEPTH 8
#define SECRET ((size_t)32 << 10)
#define SECRET_SEED 4711
#define KNOWN 0x6b6e6f776e207674u

/* in the memory of the third process */
static char secret[SECRET];
static uint64_t known;

static bool
has_secret(const char *memory, size_t size)
{
	char wanted[64];

	fill(wanted, sizeof(wanted), SECRET_SEED);
	return memmem(memory, size, wanted, sizeof(wanted)) != NULL;
}

/* takes one client, and says whether a message comes or the end */
static int
serve(const char *address)
{
	struct rdma_event_channel *channel = open_channel();
	struct rdma_cm_id *listener = listen_at(channel, address, 0, 1);
	struct link link = {0};
	bool over = false, received = false;
	struct ibv_wc wc;

	report("listening %u", (unsigned)ntohs(rdma_get_src_port(listener)));
	while (!over) {
		struct pollfd fds[] = {
			{.fd = channel->fd, .events = POLLIN},
			{.fd = link.channel ? link.channel->fd : -1, .events = POLLIN},
		};
		struct rdma_cm_event *event;

		CHECK(poll(fds, 2, -1) > 0 || errno == EINTR);
		if (link.id && drain(&link, &wc) > 0 && wc.status == IBV_WC_SUCCESS)
			over = received = true;
		event = fds[0].revents ? next_event(channel, 0) : NULL;
		if (!event)
			continue;
		if (event->event == RDMA_CM_EVENT_CONNECT_REQUEST) {
			link_open(&link, event->id, SECRET, DEPTH);
			post_receive(&link, 0, 0, SECRET);
			accept_link(&link);
		} else if (event->event != RDMA_CM_EVENT_ESTABLISHED) {
			over = true;
		}
		CHECK(rdma_ack_cm_event(event) == 0);
	}
	if (has_secret(link.memory, link.size))
		die("this is memory of another process");
	report(received ? "received" : "ended");
	rdma_disconnect(link.id);
	link_close(&link);
	close_server(channel, listener);

	return 0;
}

/* --- shared memory, as a client has it ------------------------------------------------------------ */

/* how far each direction is; the client writes the first one */
#define WRITTEN_AT(ring) ((size_t)RING_WORDS * (ring))
#define STATE_AT(ring) (WRITTEN_AT(ring) + 256)
#define CAN_COPY 4u
#define BYTES_AT(ring) ((size_t)4096 + (size_t)(32 << 10) * (ring))

static char *rings;

static atomic_uint_fast64_t *
written(int ring)
{
	return (atomic_uint_fast64_t *)(rings + WRITTEN_AT(ring));
}

/* the first frame that the server writes */
static bool
wait_for_frame(enum wire_kind kind)
{
	const struct timespec moment = {.tv_nsec = 1000000};
	uint64_t end = now_ns() + (uint64_t)wait_ms() * 1000000;

	while (atomic_load(written(1)) < WIRE_HEADER) {
		if (now_ns() > end)
			return false;
		nanosleep(&moment, NULL);
	}

	return rings[BYTES_AT(1)] == (char)kind;
}

/* --- processes ---------------------------------------------------------------------------------- */

static void
wait_for_byte(int fd)
{
	struct pollfd readable = {.fd = fd, .events = POLLIN};
	char byte;

	CHECK(poll(&readable, 1, wait_ms()) == 1 && read(fd, &byte, 1) == 1);
}

static void
stay(int pipe)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (write(pipe, "x", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

/* connects this socket, and stays */
static pid_t
connect_in_child(int fd, const struct invited *invited)
{
	int ready[2];
	pid_t pid;

	CHECK(pipe(ready) == 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		CHECK(connect(fd, (const struct sockaddr *)&invited->door, invited->door_length) == 0);
		stay(ready[1]);
	}
	wait_for_byte(ready[0]);
	close(ready[0]);
	close(ready[1]);

	return pid;
}

static void
end(pid_t pid)
{
	CHECK(kill(pid, SIGKILL) == 0);
	CHECK(waitpid(pid, NULL, 0) == pid);
}

/* a process with this number and the secret; false if that cannot be chosen */
static bool
start_with_number(pid_t pid)
{
	struct clone_args args = {
		.exit_signal = SIGCHLD,
		.set_tid = (uintptr_t)&pid,
		.set_tid_size = 1,
	};
	int ready[2];
	long ret;

	CHECK(pipe(ready) == 0);
	ret = syscall(SYS_clone3, &args, sizeof(args));
	if (ret == 0) {
		fill(secret, sizeof(secret), SECRET_SEED);
		known = KNOWN;
		stay(ready[1]);
	}
	if (ret > 0) {
		CHECK(ret == pid);
		wait_for_byte(ready[0]);
	}
	close(ready[0]);
	close(ready[1]);

	return ret > 0;
}

static void
check_kernel(void)
{
	int pair[2], fd = -1;
	socklen_t length = sizeof(fd);
	pid_t pid;

	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	if (getsockopt(pair[0], SOL_SOCKET, SO_PEERPIDFD, &fd, &length))
		skip_because("the kernel has no SO_PEERPIDFD");
	close(fd);
	close(pair[0]);
	close(pair[1]);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0)
		_exit(0);
	CHECK(waitpid(pid, NULL, 0) == pid);
	if (!start_with_number(pid))
		skip_because("the number of a process cannot be chosen");
	end(pid);
}

int
main(int argc, char *argv[])
{
	const char *address = argc > 1 ? argv[1] : "127.0.0.1";
	uint8_t message[WIRE_HEADER + WIRE_DESCRIPTOR];
	struct invited invited;
	struct child server;
	int door, memory;
	pid_t pid;

	if (argc == 4)
		return serve(argv[2]);
	skip_without(address);
	check_kernel();
	server = start("server", address, 0);
	invited = get_invited(address, (unsigned)expect(&server, "listening "));

	door = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	CHECK(door >= 0);
	pid = connect_in_child(door, &invited);
	memory = make_memory(RINGS, SEALS);
	rings = mmap(NULL, RINGS, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	CHECK(rings != MAP_FAILED);
	send_with(door, invited.knock, WIRE_KNOCK, memory, 1);
	/* it goes on in the memory, and has nothing more to say on TCP */
	CHECK(recv(invited.tcp, message, 1, 0) <= 0);
	CHECK(atomic_load((atomic_uint *)(rings + WAY_AT)) == (WAY_HERE | WAY_READY));
	/* it has looked before that */
	if (!(atomic_load((atomic_uint *)(rings + STATE_AT(1))) & CAN_COPY))
		skip_because("the server may not copy from another process");

	end(pid);
	CHECK(start_with_number(pid));
	wire_header(message, &(struct wire_frame){
		.kind = WIRE_SEND,
		.flags = WIRE_BY_REFERENCE,
		.length = SECRET,
	});
	wire_descriptor(message + WIRE_HEADER, (uintptr_t)secret, (uintptr_t)&known, KNOWN);
	memcpy(rings + BYTES_AT(0), message, sizeof(message));
	atomic_store(written(0), sizeof(message));
	CHECK(send(door, "\0\0\0\0", WIRE_DOORBELL, 0) == WIRE_DOORBELL);
	/* the server wants the bytes themselves */
	CHECK(wait_for_frame(WIRE_IN_BAND));
	end(pid);
	close(door);
	close(invited.tcp);
	expect(&server, "ended");
	finish(&server);

	return 0;
}
