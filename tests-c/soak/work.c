/* SPDX-License-Identifier: BSD-3-Clause */
/* The client part of a process: threads that connect, transfer data, verify it, and disconnect. */
#include <arpa/inet.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "soak.h"

/* sizes of a connection's memory: 4 KiB to 4 MiB */
#define SMALLEST ((size_t)4096)
#define DOUBLINGS 11
#define STEPS 24

static struct {
	struct rpma_peer *peer;
	const char *address;
	char port[16];
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool paused;
	unsigned busy;
} client = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

/* one connection of a worker */
struct visit {
	struct session session;
	struct random *random;
	struct rpma_mr_remote *remote;
	uint64_t inode; /* of the file under the server's region, or 0 */
	unsigned received[MESSAGES]; /* which slots, in their order */
	uint32_t lengths[MESSAGES];
	uint32_t immediates[MESSAGES];
};

/* 0 to limit, small ones as often as large ones */
static size_t
some_length(struct random *random, size_t limit)
{
	return next_random(random) % (limit + 1) >> next_random(random) % 20;
}

/* waits for so many completions of sends, reads and writes, and of receives */
static bool
complete_all(struct visit *visit, unsigned operations, unsigned receives)
{
	unsigned received = 0;
	struct ibv_wc wc;

	while (operations > 0 || received < receives) {
		if (!session_next(&visit->session, &wc))
			return false;
		if (!(wc.opcode & IBV_WC_RECV)) {
			CHECK(operations > 0);
			operations--;
			continue;
		}
		CHECK(received < receives);
		visit->received[received] = (unsigned)wc.wr_id;
		visit->lengths[received] = wc.byte_len;
		visit->immediates[received] = wc.wc_flags & IBV_WC_WITH_IMM ? ntohl(wc.imm_data) : 0;
		received++;
	}
	count(COUNT_RECV, receives);

	return true;
}

/* --- steps: false if the connection ended ------------------------------------------------------ */

static bool
write_and_read_back(struct visit *visit)
{
	struct session *session = &visit->session;
	struct random *random = visit->random;
	const size_t half = session->size / 2;
	const size_t length = some_length(random, half);
	const size_t offset = next_random(random) % (half - length + 1);
	const bool persistent = next_random(random) % 2;
	size_t done = 0;

	fill(session->memory + offset, length, next_random(random));
	memset(session->memory + half + offset, 0, length);
	for (unsigned pieces = (unsigned)(next_random(random) % 4); done < length; pieces--) {
		size_t piece = pieces ? some_length(random, length - done) : length - done;

		GOOD(rpma_write(session->conn, visit->remote, half + offset + done, session->mr,
				offset + done, piece, RPMA_F_COMPLETION_ON_ERROR, NULL));
		count(COUNT_WRITE, 1);
		done += piece;
		if (!pieces)
			break;
	}
	GOOD(rpma_flush(session->conn, visit->remote, half + offset, length,
			persistent ? RPMA_FLUSH_TYPE_PERSISTENT : RPMA_FLUSH_TYPE_VISIBILITY,
			RPMA_F_COMPLETION_ALWAYS, NULL));
	count(persistent ? COUNT_FLUSH_PERSISTENT : COUNT_FLUSH_VISIBILITY, 1);
	GOOD(rpma_read(session->conn, session->mr, half + offset, visit->remote, half + offset, length,
			RPMA_F_COMPLETION_ALWAYS, NULL));
	count(COUNT_READ, 1);
	if (!complete_all(visit, 2, 0))
		return false;
	count(COUNT_BYTES, 2 * length);
	if (memcmp(session->memory + offset, session->memory + half + offset, length) != 0)
		die("%zu bytes that were read are not those that were written", length);

	return true;
}

static bool
read_pattern(struct visit *visit)
{
	struct session *session = &visit->session;
	const size_t half = session->size / 2;
	const size_t length = some_length(visit->random, half);
	const size_t offset = next_random(visit->random) % (half - length + 1);
	char *pattern = malloc(half);

	CHECK(pattern);
	fill(pattern, half, session->seed);
	memset(session->memory + half, 0, length);
	GOOD(rpma_read(session->conn, session->mr, half, visit->remote, offset, length,
			RPMA_F_COMPLETION_ALWAYS, NULL));
	count(COUNT_READ, 1);
	if (!complete_all(visit, 1, 0)) {
		free(pattern);
		return false;
	}
	count(COUNT_BYTES, length);
	if (memcmp(session->memory + half, pattern + offset, length) != 0)
		die("%zu bytes that were read are not those that are there", length);
	free(pattern);

	return true;
}

static bool
write_atomically(struct visit *visit)
{
	struct session *session = &visit->session;
	const size_t half = session->size / 2;
	const size_t offset = half + next_random(visit->random) % (half / 8) * 8;
	const uint64_t value = next_random(visit->random);

	GOOD(rpma_atomic_write(session->conn, visit->remote, offset, (const char *)&value,
			RPMA_F_COMPLETION_ALWAYS, NULL));
	count(COUNT_ATOMIC, 1);
	GOOD(rpma_read(session->conn, session->mr, offset, visit->remote, offset, sizeof(value),
			RPMA_F_COMPLETION_ALWAYS, NULL));
	count(COUNT_READ, 1);
	if (!complete_all(visit, 2, 0))
		return false;
	count(COUNT_BYTES, 2 * sizeof(value));
	if (memcmp(session->memory + offset, &value, sizeof(value)) != 0)
		die("a value that was written atomically is not there");

	return true;
}

/* the server verifies it, and sends the immediate back */
static bool
write_with_immediate(struct visit *visit)
{
	struct session *session = &visit->session;
	const uint32_t imm = (uint32_t)next_random(visit->random);
	const size_t length = immediate_length(session, imm);

	fill(session->memory, length, imm);
	GOOD(rpma_write_with_imm(session->conn, visit->remote, session->size / 2, session->mr, 0, length,
			RPMA_F_COMPLETION_ALWAYS, imm, NULL));
	count(COUNT_WRITE_IMM, 1);
	if (!complete_all(visit, 1, 1))
		return false;
	count(COUNT_BYTES, length);
	if (visit->lengths[0] != sizeof(imm) || memcmp(session->memory +
			slot_in(session, visit->received[0]), &imm, sizeof(imm)) != 0)
		die("the answer to a write with immediate is not the immediate");
	session_receive(session, visit->received[0]);

	return true;
}

static bool
exchange_messages(struct visit *visit)
{
	struct session *session = &visit->session;
	struct random *random = visit->random;
	const unsigned messages = 1 + (unsigned)(next_random(random) % MESSAGES);
	uint32_t immediates[MESSAGES] = {0};
	uint32_t lengths[MESSAGES];

	for (unsigned i = 0; i < messages; i++) {
		const size_t at = slot_out(session, i);
		size_t length = some_length(random, MESSAGE);

		fill(session->memory + at, length, next_random(random));
		lengths[i] = (uint32_t)length;
		if (next_random(random) % 2) {
			immediates[i] = (uint32_t)next_random(random);
			GOOD(rpma_send_with_imm(session->conn, session->mr, at, length,
					RPMA_F_COMPLETION_ALWAYS, ~immediates[i], NULL));
			count(COUNT_SEND_IMM, 1);
		} else {
			GOOD(rpma_send(session->conn, session->mr, at, length,
					RPMA_F_COMPLETION_ALWAYS, NULL));
			count(COUNT_SEND, 1);
		}
		count(COUNT_BYTES, length);
	}
	if (!complete_all(visit, messages, messages))
		return false;
	for (unsigned i = 0; i < messages; i++) {
		const char *sent = session->memory + slot_out(session, i);
		const char *got = session->memory + slot_in(session, visit->received[i]);

		if (visit->lengths[i] != lengths[i] || visit->immediates[i] != immediates[i])
			die("a message came back with another length or immediate");
		for (uint32_t j = 0; j < lengths[i]; j++) {
			if (got[j] != (char)~sent[j])
				die("byte %u of %u of a message came back wrong", j, lengths[i]);
		}
	}
	for (unsigned i = 0; i < messages; i++)
		session_receive(session, visit->received[i]);

	return true;
}

/* --- a connection ------------------------------------------------------------------------------ */

static bool
move_data(struct visit *visit)
{
	static const struct {
		bool (*step)(struct visit *);
		const char *name;
	} steps[] = {
		{write_and_read_back, "writing and reading back"},
		{read_pattern, "reading"},
		{write_atomically, "writing atomically"},
		{write_with_immediate, "writing with immediate"},
		{exchange_messages, "exchanging messages"},
	};

	for (uint64_t n = next_random(visit->random) % STEPS; n > 0; n--) {
		const unsigned i = (unsigned)(next_random(visit->random) % (sizeof(steps) / sizeof(steps[0])));

		visit->session.doing = steps[i].name;
		if (!steps[i].step(visit))
			return false;
	}
	if (visit->inode && has_mapped(visit->inode))
		count(COUNT_MAPPED, 1);

	return true;
}

/* tells the server that the connection ends on purpose, and ends it in one of four ways */
static bool
say_farewell(struct visit *visit)
{
	struct session *session = &visit->session;
	const unsigned way = (unsigned)(next_random(visit->random) % 4);
	const struct farewell farewell = {FAREWELL, way == 0};

	session->doing = way == 0 ? "being disconnected" : "disconnecting";
	memcpy(session->memory + slot_out(session, 0), &farewell, sizeof(farewell));
	GOOD(rpma_send(session->conn, session->mr, slot_out(session, 0), sizeof(farewell),
			RPMA_F_COMPLETION_ALWAYS, NULL));
	if (!complete_all(visit, 1, 1))
		return false;
	switch (way) {
	case 0: /* the server disconnects */
		while (session_event(session)) {
		}
		GOOD(rpma_conn_disconnect(session->conn));
		break;
	case 1: /* the client, and waits for it */
		GOOD(rpma_conn_disconnect(session->conn));
		while (session_event(session)) {
		}
		break;
	case 2: /* the client, and does not wait */
		GOOD(rpma_conn_disconnect(session->conn));
		break;
	default: /* nobody: the connection is deleted */
		break;
	}

	return true;
}

static void
read_reply(struct visit *visit)
{
	struct session *session = &visit->session;
	struct rpma_conn_private_data data;
	struct rpma_peer_cfg *cfg;
	char expected[REPLY_DATA];
	struct reply reply;

	GOOD(rpma_conn_get_private_data(session->conn, &data));
	CHECK(data.len >= sizeof(reply));
	memcpy(&reply, data.ptr, sizeof(reply));
	CHECK(reply.length <= data.len && reply.length <= REPLY_DATA);
	fill(expected, REPLY_DATA, ~session->seed);
	if (memcmp((char *)data.ptr + sizeof(reply), expected + sizeof(reply),
			reply.length - sizeof(reply)) != 0)
		die("the private data of the server is not what it sent");
	visit->inode = reply.inode;
	GOOD(rpma_mr_remote_from_descriptor(reply.region, reply.region_length, &visit->remote));
	GOOD(rpma_peer_cfg_from_descriptor(reply.peer_cfg, reply.peer_cfg_length, &cfg));
	GOOD(rpma_conn_apply_remote_peer_cfg(session->conn, cfg));
	GOOD(rpma_peer_cfg_delete(&cfg));
}

/* asks for a connection; false if the server rejected it, was killed, or is not there yet */
static bool
connect_to_server(struct visit *visit)
{
	struct session *session = &visit->session;
	struct hello hello = {
		.seed = next_random(visit->random),
		.size = (uint32_t)(SMALLEST << next_random(visit->random) % DOUBLINGS),
		.reject = !is_original && next_random(visit->random) % 8 == 0,
		.length = (uint8_t)(sizeof(hello) + next_random(visit->random) %
				(REQUEST_DATA - sizeof(hello) + 1)),
	};
	char bytes[REQUEST_DATA];
	const struct rpma_conn_private_data data = {bytes, hello.length};
	struct rpma_conn_req *req;
	int ret;

	session->seed = hello.seed;
	session->doing = hello.reject ? "being rejected" : "connecting";
	session_configure(session, client.peer, visit->random, false);
	session_memory(session, client.peer, visit->random, hello.size);
	fill(bytes, sizeof(bytes), hello.seed);
	memcpy(bytes, &hello, sizeof(hello));

	GOOD(rpma_conn_req_new(client.peer, client.address, client.port, session->cfg, &req));
	for (unsigned i = 0; i < MESSAGES; i++)
		GOOD(rpma_conn_req_recv(req, session->mr, slot_in(session, i), MESSAGE,
				(const void *)(uintptr_t)i));
	ret = rpma_conn_req_connect(&req, &data, &session->conn);
	if (ret == 0) {
		session_start(session);
		if (session_event(session)) {
			CHECK(!hello.reject);
			read_reply(visit);
			count(COUNT_CONNECTIONS, 1);
			return true;
		}
		if (hello.reject && session->ended_by == RPMA_CONN_REJECTED)
			return false;
	}
	if (!is_keeper)
		die("no connection: %s", ret ? rpma_err_2str(ret) :
				rpma_utils_conn_event_2str(session->ended_by));
	count(COUNT_REFUSED, 1);
	/* the server is being restarted, and there is no event when it listens */
	usleep(2000);

	return false;
}

static void
visit_server(struct random *random)
{
	static _Atomic bool told;
	struct visit visit = {.random = random};
	bool connected = connect_to_server(&visit);

	if (connected && !(move_data(&visit) && say_farewell(&visit))) {
		if (!is_keeper)
			die("the connection broke: %s",
					rpma_utils_conn_event_2str(visit.session.ended_by));
		count(COUNT_KEEPER_CLIENT_BROKEN, 1);
		rpma_conn_disconnect(visit.session.conn);
	} else if (connected && !is_keeper && !atomic_exchange(&told, true)) {
		report("working");
	}
	if (visit.remote)
		GOOD(rpma_mr_remote_delete(&visit.remote));
	session_close(&visit.session);
}

/* --- workers ----------------------------------------------------------------------------------- */

static void *
worker(void *argument)
{
	struct random *random = argument;

	pthread_mutex_lock(&client.lock);
	for (;;) {
		while (client.paused)
			pthread_cond_wait(&client.changed, &client.lock);
		client.busy++;
		pthread_mutex_unlock(&client.lock);
		visit_server(random);
		pthread_mutex_lock(&client.lock);
		client.busy--;
		pthread_cond_broadcast(&client.changed);
	}

	return NULL;
}

void
work(struct rpma_peer *peer, const char *address, unsigned port, uint64_t seed)
{
	static struct random randoms[WORKERS];
	pthread_t thread;

	client.peer = peer;
	client.address = address;
	snprintf(client.port, sizeof(client.port), "%u", port);
	for (unsigned i = 0; i < WORKERS; i++) {
		randoms[i].state = seed * WORKERS + i + 1;
		CHECK(pthread_create(&thread, NULL, worker, &randoms[i]) == 0);
		pthread_detach(thread);
	}
}

void
work_pause(bool pause)
{
	pthread_mutex_lock(&client.lock);
	client.paused = pause;
	pthread_cond_broadcast(&client.changed);
	while (pause && client.busy > 0)
		pthread_cond_wait(&client.changed, &client.lock);
	pthread_mutex_unlock(&client.lock);
}
