/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Walk programs. Each does the same on every run, prints every step with its return code and result, and after a
 * failed step continues as far as possible and releases its objects. So their output and their verbs calls can be
 * compared between the two libraries, also when one of the calls fails.
 *
 * Both ends of a connection are in one thread of one process, so the order of all calls is always the same.
 */
#ifndef WALK_H
#define WALK_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <librpma.h>

struct scenario {
	const char *name;
	void (*run)(void);
};

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
int walk_main(const struct scenario *scenarios, size_t count, int argc, char *argv[]);

/* the scenarios of the files of this directory */
extern const struct scenario object_scenarios[];
extern const size_t object_scenarios_count;
extern const struct scenario setup_scenarios[];
extern const size_t setup_scenarios_count;
extern const struct scenario op_scenarios[];
extern const size_t op_scenarios_count;
extern const struct scenario end_scenarios[];
extern const size_t end_scenarios_count;

/* --- steps --- */

/* makes the call, prints it with its code and the levels of its messages, and returns the code */
#define STEP(who, call) (begin_step(), step((who), #call, (call)))
void begin_step(void);
int step(const char *who, const char *call, int ret);
/* prints the result of a step */
void say(const char *who, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* waits until the descriptor is readable, at most the timeout of this run; prints a line if it is not */
bool readable(const char *who, int fd);

/* an address of this machine that only this process uses, and a port that only this run uses */
const char *own_addr(void);
const char *own_port(void);

/* --- the two sides of a connection --- */

#define MEM_SIZE ((size_t)4096)

struct side {
	const char *who;
	struct rpma_peer *peer;
	char *mem;
	struct rpma_mr_local *mr;
	/* the peer's memory, from its descriptor */
	struct rpma_mr_remote *remote;
	struct rpma_conn *conn;
	struct rpma_cq *cq;
	struct rpma_cq *rcq;
	/* an expected completion was missing */
	bool lost;
};

struct pair {
	struct side client;
	struct side server;
	struct rpma_ep *ep;
	/* both ends have seen that the connection is established */
	bool up;
};

/* how a pair is connected; zeros are the defaults */
struct plan {
	struct rpma_conn_cfg *client_cfg;
	struct rpma_conn_cfg *server_cfg;
	const char *request_data;
	const char *reply_data;
	/* post a receive on the request of the server, before there is a connection */
	bool early_recv;
};

bool open_side(struct side *side, const char *who, enum rpma_util_ibv_context_type type);
void close_side(struct side *side);

/* creates peers, memory and endpoint; whether all were created */
bool pair_prepare(struct pair *pair);
/* sends a request of the client */
bool pair_request(struct pair *pair, const struct plan *plan);
/* takes and accepts the client's request, and waits until both sides have the event */
bool pair_answer(struct pair *pair, const struct plan *plan);
/* the next event of a connection, RPMA_CONN_UNDEFINED if there is none */
enum rpma_conn_event next_event(struct side *side);
/* disconnects the client, if it is connected */
void pair_disconnect(struct pair *pair);
/* deletes all objects that exist */
void pair_release(struct pair *pair);

/* waits for a completion and prints it; whether there was one that succeeded */
bool completion(const char *who, struct rpma_cq *cq);
void say_wc(const char *who, const struct ibv_wc *wc);

/* deletes an object if there is one */
#define DELETE(who, function, object) \
	do { \
		if (object) \
			STEP((who), function(&(object))); \
	} while (0)

#endif
