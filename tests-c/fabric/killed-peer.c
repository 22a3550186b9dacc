/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * killed-peer [ADDRESS]: a server and a client, busy with each other; one of them is killed (kill -9)
 * at a random moment, over and over. The other one must get its events and its completions, and then
 * work with the next one.
 *
 *   softrdma run -- killed-peer
 *
 * ADDRESS is 127.0.0.1 unless given. From the environment: KILL_ROUNDS (200), KILL_SEED (which moments;
 * it is printed), PAIR_WAIT_MS (10000: how long anything may take).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "two-processes.h"

#define SIZE ((size_t)2 << 20)
#define DEPTH 64
#define RECEIVES 32
#define MESSAGE ((size_t)1024)
/* the part of the memory that the verified exchange uses, away from the messages */
#define VERIFIED ((size_t)64 << 10)
#define LINKS 8

/* what the connection manager says when a connection is over, or does not come to be */
static bool
is_end(enum rdma_cm_event_type event)
{
	switch (event) {
	case RDMA_CM_EVENT_DISCONNECTED:
	case RDMA_CM_EVENT_CONNECT_ERROR:
	case RDMA_CM_EVENT_UNREACHABLE:
	case RDMA_CM_EVENT_REJECTED:
		return true;
	default:
		return false;
	}
}

/*
 * Ends a connection of which the other end is gone: after our own disconnect, everything that was
 * posted has to complete.
 */
static void
end(struct link *link)
{
	uint64_t limit = now_ns() + (uint64_t)wait_ms() * 1000000;
	struct pollfd readable = {.fd = link->channel->fd, .events = POLLIN};

	rdma_disconnect(link->id);
	while (link->posted > 0) {
		if (drain(link, NULL) > 0)
			continue;
		if (now_ns() > limit)
			die("%u work requests never completed", link->posted);
		poll(&readable, 1, wait_ms());
	}
	link_close(link);
}

/* --- the server -------------------------------------------------------------------------------- */

struct server {
	struct rdma_event_channel *channel;
	struct link links[LINKS];
	bool told; /* the client is dead */
};

static void
take_request(struct server *server, struct rdma_cm_id *id)
{
	struct link *link = NULL;

	for (int i = 0; i < LINKS; i++) {
		if (!server->links[i].id)
			link = &server->links[i];
	}
	if (!link)
		die("more than %d connections, so some did not get their DISCONNECTED", LINKS);
	link_open(link, id, SIZE, DEPTH);
	for (unsigned i = 0; i < RECEIVES; i++)
		post_receive(link, i, i * MESSAGE, MESSAGE);
	accept_link(link);
}

/* sends a message back where it came from */
static void
serve_link(struct link *link)
{
	struct ibv_wc wc;

	while (drain(link, &wc) > 0) {
		/* an error is the end, and there will be an event about it */
		if (wc.status != IBV_WC_SUCCESS || link->ended)
			continue;
		if (wc.opcode == IBV_WC_RECV)
			post(link, IBV_WR_SEND, wc.wr_id, wc.wr_id * MESSAGE, wc.byte_len, 0);
		else
			post_receive(link, wc.wr_id, wc.wr_id * MESSAGE, MESSAGE);
	}
}

static void
serve_event(struct server *server)
{
	struct rdma_cm_event *event = next_event(server->channel, 0);
	enum rdma_cm_event_type type;
	struct rdma_cm_id *id;
	struct link *link;

	if (!event)
		return;
	type = event->event;
	id = event->id;
	link = id->context;
	CHECK(rdma_ack_cm_event(event) == 0);
	if (type == RDMA_CM_EVENT_CONNECT_REQUEST)
		take_request(server, id);
	else if (is_end(type))
		link->ended = true;
	else if (type != RDMA_CM_EVENT_ESTABLISHED && type != RDMA_CM_EVENT_TIMEWAIT_EXIT)
		die("event %s", rdma_event_str(type));
}

static int
serve(const char *address, unsigned port)
{
	struct server server = {.channel = open_channel()};
	struct rdma_cm_id *listener = listen_at(server.channel, address, port, 8);
	bool go_on = true;
	char line[16];

	report("listening %u", (unsigned)ntohs(rdma_get_src_port(listener)));
	while (go_on) {
		struct pollfd fds[LINKS + 2];
		unsigned live = 0;

		fds[0] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
		fds[1] = (struct pollfd){.fd = server.channel->fd, .events = POLLIN};
		for (int i = 0; i < LINKS; i++) {
			struct link *link = &server.links[i];

			if (link->id && link->ended)
				end(link);
			live += link->id != NULL;
			fds[i + 2] = (struct pollfd){
				.fd = link->id ? link->channel->fd : -1,
				.events = POLLIN,
			};
		}
		if (server.told && live == 0) {
			report("clean");
			server.told = false;
		}
		if (poll(fds, LINKS + 2, -1) < 0 && errno != EINTR)
			die("poll: %m");
		for (int i = 0; i < LINKS; i++) {
			if (server.links[i].id && fds[i + 2].revents)
				serve_link(&server.links[i]);
		}
		if (fds[1].revents)
			serve_event(&server);
		if (fds[0].revents) {
			go_on = listen_to_parent(line, sizeof(line)) && strcmp(line, "quit") != 0;
			server.told = server.told || strcmp(line, "dead") == 0;
		}
	}
	for (int i = 0; i < LINKS; i++) {
		if (server.links[i].id)
			end(&server.links[i]);
	}
	CHECK(rdma_destroy_id(listener) == 0);
	release_pd();
	rdma_destroy_event_channel(server.channel);

	return 0;
}

/* --- the client -------------------------------------------------------------------------------- */

struct client {
	struct rdma_event_channel *channel;
	struct link link;
	struct random random;
	bool told; /* the server is dead */
	bool quit;
};

/* a completion without an error; false if the connection ended instead */
static bool
completes(struct client *client)
{
	uint64_t limit = now_ns() + (uint64_t)wait_ms() * 1000000;
	struct ibv_wc wc;

	for (;;) {
		struct pollfd fds[] = {
			{.fd = client->link.channel->fd, .events = POLLIN},
			{.fd = client->channel->fd, .events = POLLIN},
		};

		if (drain(&client->link, &wc) > 0)
			return wc.status == IBV_WC_SUCCESS;
		poll(fds, 2, wait_ms());
		if (fds[1].revents && !fds[0].revents) {
			struct rdma_cm_event *event = next_event(client->channel, 0);

			CHECK(event && event->event == RDMA_CM_EVENT_DISCONNECTED);
			CHECK(rdma_ack_cm_event(event) == 0);
			client->link.ended = true;
			return false;
		}
		if (now_ns() > limit)
			die("neither a completion nor an event, and %u are due", client->link.posted);
	}
}

/* what is written can be read, and a message comes back as it was; false if the connection ended */
static bool
verified(struct client *client)
{
	struct link *link = &client->link;
	size_t remote = RECEIVES * MESSAGE;
	char *written = link->memory;
	char *read = link->memory + VERIFIED;

	fill(written, VERIFIED, next_random(&client->random));
	memset(read, 0, VERIFIED);
	post(link, IBV_WR_RDMA_WRITE, 1, 0, VERIFIED, remote);
	post(link, IBV_WR_RDMA_READ, 2, VERIFIED, VERIFIED, remote);
	if (!completes(client) || !completes(client))
		return false;
	if (memcmp(written, read, VERIFIED) != 0)
		die("what was read is not what was written");

	memset(read, 0, MESSAGE);
	post_receive(link, 3, VERIFIED, MESSAGE);
	post(link, IBV_WR_SEND, 4, 0, 100, 0);
	if (!completes(client) || !completes(client))
		return false;
	if (memcmp(written, read, 100) != 0)
		die("the message came back as another one");

	return true;
}

static void
heed_parent(struct client *client, int ms)
{
	struct pollfd readable = {.fd = STDIN_FILENO, .events = POLLIN};
	char line[16];

	if (poll(&readable, 1, ms) <= 0)
		return;
	if (!listen_to_parent(line, sizeof(line)) || strcmp(line, "quit") == 0)
		client->quit = true;
	else if (strcmp(line, "dead") == 0)
		client->told = true;
}

/* as much as the queues take, of every kind and size, until the connection ends or the parent says so */
static void
be_busy(struct client *client)
{
	struct link *link = &client->link;
	unsigned receives = 0, sends = 0;
	bool good = true;

	while (good && !link->ended && !client->quit) {
		while (receives < RECEIVES) {
			post_receive(link, 1, VERIFIED + receives * MESSAGE, MESSAGE);
			receives++;
		}
		while (sends < RECEIVES / 2) {
			size_t size = (size_t)1 << next_random(&client->random) % 20;
			size_t offset = SIZE / 2;

			switch (next_random(&client->random) % 4) {
			case 0:
				post(link, IBV_WR_RDMA_WRITE, 2, offset, size, offset);
				break;
			case 1:
				post(link, IBV_WR_RDMA_READ, 2, offset, size, offset);
				break;
			default:
				post(link, IBV_WR_SEND, 2, 0, size % MESSAGE, 0);
			}
			sends++;
		}
		for (;;) {
			struct ibv_wc wc;

			if (drain(link, &wc) == 0)
				break;
			if (wc.status != IBV_WC_SUCCESS) {
				good = false;
				break;
			}
			if (wc.wr_id == 1)
				receives--;
			else
				sends--;
		}
		if (good && sends == RECEIVES / 2) {
			struct pollfd fds[] = {
				{.fd = link->channel->fd, .events = POLLIN},
				{.fd = client->channel->fd, .events = POLLIN},
				{.fd = STDIN_FILENO, .events = POLLIN},
			};

			if (poll(fds, 3, wait_ms()) == 0)
				die("stuck: %u are due", link->posted);
			if (fds[1].revents)
				good = false;
		}
		heed_parent(client, 0);
	}
}

/* after an error or at the end: the event must be there, or come */
static void
client_end(struct client *client)
{
	if (!client->link.ended && !client->quit) {
		struct rdma_cm_event *event = next_event(client->channel, wait_ms());

		if (!event)
			die("an error, but no DISCONNECTED in %d ms", wait_ms());
		if (event->event != RDMA_CM_EVENT_DISCONNECTED)
			die("%s instead of DISCONNECTED", event_name(event));
		CHECK(rdma_ack_cm_event(event) == 0);
	}
	end(&client->link);
}

static int
work(const char *address, unsigned port)
{
	struct client client = {
		.channel = open_channel(),
		.random = {(uint64_t)getpid() + env_number("KILL_SEED", 0)},
	};

	while (!client.quit) {
		if (connect_link(&client.link, client.channel, address, port, SIZE, DEPTH)) {
			if (verified(&client)) {
				report("working");
				be_busy(&client);
			}
			client_end(&client);
		} else {
			usleep(1000);
		}
		heed_parent(&client, 0);
		if (client.told) {
			/* the connection to it is over, or there was none */
			report("clean");
			client.told = false;
		}
	}
	release_pd();
	rdma_destroy_event_channel(client.channel);

	return 0;
}

/* --- the parent -------------------------------------------------------------------------------- */

/* what a child says until it says this */
static void
skip_to(struct child *child, const char *wanted)
{
	char *line;

	do {
		line = hear(child);
		if (!line)
			die("waited for \"%s\" in vain", wanted);
	} while (strcmp(line, wanted) != 0);
}

int
main(int argc, char *argv[])
{
	const char *address = argc > 1 ? argv[1] : "127.0.0.1";
	unsigned long rounds = env_number("KILL_ROUNDS", 200);
	unsigned long seed = env_number("KILL_SEED", (unsigned long)now_ns() & 0xffffff);
	struct random random = {seed};
	struct child server, client;
	unsigned killed[2] = {0, 0}, early = 0;
	uint64_t started = now_ns(), slowest = 0;
	unsigned port;
	char text[32];

	if (argc == 4) {
		port = (unsigned)atoi(argv[3]);
		return strcmp(argv[1], "server") == 0 ? serve(argv[2], port) : work(argv[2], port);
	}

	skip_without(address);
	printf("KILL_SEED=%lu\n", seed);
	fflush(stdout);
	snprintf(text, sizeof(text), "%lu", seed);
	setenv("KILL_SEED", text, 1);

	server = start("server", address, 0);
	port = (unsigned)expect(&server, "listening ");
	client = start("client", address, port);
	for (unsigned long round = 0; round < rounds; round++) {
		bool kill_server = next_random(&random) % 2;
		struct child *victim = kill_server ? &server : &client;
		struct child *survivor = kill_server ? &client : &server;
		uint64_t killed_at;

		/* one in three is killed while it may be connecting, or before */
		if (next_random(&random) % 3 == 0)
			early++;
		else
			skip_to(&client, "working");
		usleep((useconds_t)(next_random(&random) % 20000));
		kill_child(victim);
		killed[kill_server]++;
		killed_at = now_ns();
		tell(survivor, "dead");
		skip_to(survivor, "clean");
		if (now_ns() - killed_at > slowest)
			slowest = now_ns() - killed_at;
		if (kill_server) {
			server = start("server", address, port);
			expect(&server, "listening ");
		} else {
			client = start("client", address, port);
		}
	}
	skip_to(&client, "working");
	tell(&client, "quit");
	finish(&client);
	tell(&server, "quit");
	finish(&server);
	printf("%lu times killed: %u servers, %u clients, %u of them early; the other end was done with it "
			"after at most %.1f ms; %.1f s\n", rounds, killed[1], killed[0], early,
			(double)slowest / 1e6, (double)(now_ns() - started) / 1e9);

	return 0;
}
