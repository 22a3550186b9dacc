/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What fabric and fabric-many share: samples, the clock and the yardsticks, which are measured in turn with the
 * device.
 *
 * A sample is a line: a name and the values of all rounds, separated by tabs. Times are in nanoseconds.
 * run-fabric makes medians and ratios of them.
 */
#ifndef BENCH_H
#define BENCH_H

#include "../tests-c/fabric/conformance/conformance.h"

#define ROUNDS 7
#define MESSAGE 8
/* operations in a batch */
#define BATCH 16

double now_ns(void);

/* adds the value of one more round to the sample; "%u" and the like in its name are filled in */
void add(double value, const char *name, ...) __attribute__((format(printf, 2, 3)));
/* prints all samples, in the order in which they were added first, and forgets them */
void print_samples(void);

double median(double *values, unsigned count);

/*
 * One round of one operation: the time of an operation is the median of batches of operations, so that the times in
 * which another program has the processor do not count.
 */
struct timer {
	double round_ns, limit, batch_start, first;
	unsigned batch, in_batch, batches;
	bool fixed;	/* the batch is as many operations as are under way: they may complete together */
	double values[4096];
};

/* a round of this time, in batches of so many operations */
struct timer timer_start(double round_ns, unsigned batch);
/* after each operation; false at the end of the round */
bool timer_goes_on(struct timer *timer);
double timer_median(struct timer *timer);

/* --- eventfds: two processes that wake each other ---------------------------------------------- */

/* before the other process is started */
void eventfd_create(void);
/*
 * Wakes the other process, and waits to be woken by it; the time of each of them. Both run on one processor
 * meanwhile: to wake an idle one takes from 3 to 30 us, whatever the scheduler decides.
 */
double eventfd_round(double round_ns);
/* the part of the other process, until the end of one round */
void eventfd_answer(void);

/* waits for the end of the other process, so that its time counts as that of this one */
void wait_for_end(pid_t pid);

/* --- copies ------------------------------------------------------------------------------------ */

double memcpy_round(uint8_t *to, const uint8_t *from, size_t length, double round_ns);
/* the kernel copies to this address of another process; NAN where that is not permitted */
double writev_round(pid_t pid, uint64_t to, uint8_t *from, size_t length, double round_ns);

/* --- TCP --------------------------------------------------------------------------------------- */

/* a listener at the address of the device; says its address on `fd` */
int tcp_listen(int fd);
int tcp_connect(const struct sockaddr_storage *to);
int tcp_accept(int listener);
/* the time of `count` connections, one after the other, with a byte in each direction; tcp_serve is the other side */
double tcp_connections(const struct sockaddr_storage *to, unsigned count);
void tcp_serve(int listener, unsigned count);
/* a message and back on a connection, polled or waited for; tcp_answer is the other side */
double tcp_message_round(int fd, bool waited, double round_ns);
void tcp_answer(int fd, bool waited);
/* payloads of 1 MiB, each acknowledged by a byte, `depth` at a time; tcp_take is the other side */
double tcp_write_round(int fd, const uint8_t *from, unsigned count, unsigned depth);
void tcp_take(int fd, uint8_t *to, unsigned count);

/* --- requests ---------------------------------------------------------------------------------- */

/* the next completion, which is polled for; false if there is none in time. It must be a success */
bool poll_one(struct ibv_cq *cq, double timeout_ns);

#endif
