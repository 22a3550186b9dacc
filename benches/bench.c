/* SPDX-License-Identifier: BSD-3-Clause */
#define _GNU_SOURCE
#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

#define MOST_SAMPLES 128

struct sample {
	char name[64];
	unsigned count;
	double values[ROUNDS];
};

static struct sample samples[MOST_SAMPLES];
static unsigned sample_count;

static int ping, pong;	/* eventfds */

double
now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);

	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* --- samples ----------------------------------------------------------------------------------- */

void
add(double value, const char *name, ...)
{
	struct sample *sample = samples;
	char text[sizeof(sample->name)];
	va_list args;

	va_start(args, name);
	vsnprintf(text, sizeof(text), name, args);
	va_end(args);
	while (sample < samples + sample_count && strcmp(sample->name, text) != 0)
		sample++;
	if (sample == samples + sample_count) {
		if (sample_count++ == MOST_SAMPLES)
			broken("MOST_SAMPLES");
		memset(sample, 0, sizeof(*sample));
		strcpy(sample->name, text);
	}
	if (sample->count == ROUNDS)
		broken(sample->name);
	sample->values[sample->count++] = value;
}

void
print_samples(void)
{
	for (unsigned i = 0; i < sample_count; i++) {
		printf("%s", samples[i].name);
		for (unsigned round = 0; round < samples[i].count; round++)
			printf("\t%.1f", samples[i].values[round]);
		printf("\n");
	}
	fflush(stdout);
	sample_count = 0;
}

static int
by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

double
median(double *values, unsigned count)
{
	qsort(values, count, sizeof(values[0]), by_value);

	return values[count / 2];
}

struct timer
timer_start(double round_ns, unsigned batch)
{
	struct timer timer = {.round_ns = round_ns, .batch = batch, .in_batch = batch - 1, .batch_start = now_ns()};

	return timer;
}

bool
timer_goes_on(struct timer *timer)
{
	double now;

	if (++timer->in_batch < timer->batch)
		return true;
	now = now_ns();
	if (timer->limit == 0) {
		/* the first operation is a batch that does not count, unless operations are slow: then each one does */
		timer->limit = timer->batch_start + timer->round_ns;
		if (!timer->fixed && now - timer->batch_start > timer->round_ns / timer->batch)
			timer->batch = 1;
		timer->first = now - timer->batch_start;
	} else if (timer->batches < COUNT_OF(timer->values)) {
		timer->values[timer->batches++] = (now - timer->batch_start) / timer->batch;
	}
	timer->in_batch = 0;
	timer->batch_start = now;

	return now < timer->limit && timer->batches < COUNT_OF(timer->values);
}

double
timer_median(struct timer *timer)
{
	return timer->batches ? median(timer->values, timer->batches) : timer->first;
}

/* --- eventfds ---------------------------------------------------------------------------------- */

void
eventfd_create(void)
{
	ping = eventfd(0, 0);
	pong = eventfd(0, 0);
	if (ping < 0 || pong < 0)
		broken("eventfd");
}

/* has the calling thread run on this processor only; returns where it might run before */
static cpu_set_t
pin(unsigned processor)
{
	cpu_set_t before, one;

	CPU_ZERO(&one);
	CPU_SET(processor, &one);
	NEED(sched_getaffinity(0, sizeof(before), &before));
	NEED(sched_setaffinity(0, sizeof(one), &one));

	return before;
}

double
eventfd_round(double round_ns)
{
	unsigned processor = (unsigned)sched_getcpu();
	cpu_set_t before = pin(processor);
	struct timer timer;
	eventfd_t value;
	bool last = false;

	/* the value is the processor, and whether more follow */
	NEED(eventfd_write(ping, 2 * (processor + 1)));
	NEED(eventfd_read(pong, &value));
	timer = timer_start(round_ns, 16);
	do {
		NEED(eventfd_write(ping, last ? 1 : 2));
		NEED(eventfd_read(pong, &value));
		if (last)
			break;
		last = !timer_goes_on(&timer);
	} while (true);
	NEED(sched_setaffinity(0, sizeof(before), &before));

	return timer_median(&timer);
}

void
eventfd_answer(void)
{
	cpu_set_t before;
	eventfd_t value;

	NEED(eventfd_read(ping, &value));
	before = pin((unsigned)value / 2 - 1);
	NEED(eventfd_write(pong, 1));
	do {
		NEED(eventfd_read(ping, &value));
		NEED(eventfd_write(pong, 1));
	} while (value != 1);
	NEED(sched_setaffinity(0, sizeof(before), &before));
}

void
wait_for_end(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
		broken("the other process");
}

/* --- copies ------------------------------------------------------------------------------------ */

double
memcpy_round(uint8_t *to, const uint8_t *from, size_t length, double round_ns)
{
	struct timer timer = timer_start(round_ns, length < MIB ? BATCH : 1);

	do {
		memcpy(to, from, length);
		__asm__ volatile("" : : "r"(to) : "memory");
	} while (timer_goes_on(&timer));

	return timer_median(&timer);
}

double
writev_round(pid_t pid, uint64_t to, uint8_t *from, size_t length, double round_ns)
{
	struct iovec local = {from, length}, remote = {(void *)(uintptr_t)to, length};
	struct timer timer = timer_start(round_ns, length < MIB ? BATCH : 1);

	do {
		if (process_vm_writev(pid, &local, 1, &remote, 1, 0) != (ssize_t)length)
			return NAN;
	} while (timer_goes_on(&timer));

	return timer_median(&timer);
}

/* --- TCP --------------------------------------------------------------------------------------- */

int
tcp_listen(int fd)
{
	struct sockaddr_storage storage;
	socklen_t length = sizeof(storage);
	int listener;

	device_address(0, &storage);
	listener = socket(storage.ss_family, SOCK_STREAM, 0);
	if (listener < 0)
		broken("socket");
	NEED(bind(listener, (struct sockaddr *)&storage, sizeof(storage)));
	NEED(listen(listener, 128));
	NEED(getsockname(listener, (struct sockaddr *)&storage, &length));
	tell(fd, &storage, sizeof(storage));

	return listener;
}

static void
no_delay(int connection)
{
	int on = 1;

	NEED(setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)));
}

int
tcp_connect(const struct sockaddr_storage *to)
{
	int connection = socket(to->ss_family, SOCK_STREAM, 0);

	if (connection < 0)
		broken("socket");
	NEED(connect(connection, (const struct sockaddr *)to, sizeof(*to)));
	no_delay(connection);

	return connection;
}

int
tcp_accept(int listener)
{
	int connection = accept(listener, NULL, NULL);

	if (connection < 0)
		broken("accept");
	no_delay(connection);

	return connection;
}

void
tcp_serve(int listener, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		int connection = tcp_accept(listener);
		char byte;

		hear(connection, &byte, 1);
		tell(connection, &byte, 1);
		close(connection);
	}
}

double
tcp_connections(const struct sockaddr_storage *to, unsigned count)
{
	struct timer timer = timer_start(1e10, 1);

	for (unsigned i = 0; i < count; i++) {
		int connection = tcp_connect(to);
		char byte = 0;

		tell(connection, &byte, 1);
		hear(connection, &byte, 1);
		close(connection);
		timer_goes_on(&timer);
	}

	return timer_median(&timer);
}

static void
tcp_hear(int fd, void *data, size_t length, bool waited)
{
	while (!waited) {
		ssize_t got = recv(fd, data, length, MSG_DONTWAIT);

		if (got == (ssize_t)length)
			return;
		if (got >= 0 || errno != EAGAIN)
			broken("recv");
		sched_yield();
	}
	hear(fd, data, length);
}

/* answers until the last message, whose first byte is not 0 */
void
tcp_answer(int fd, bool waited)
{
	uint8_t message[MESSAGE];

	do {
		tcp_hear(fd, message, MESSAGE, waited);
		tell(fd, message, MESSAGE);
	} while (message[0] == 0);
}

double
tcp_message_round(int fd, bool waited, double round_ns)
{
	uint8_t message[MESSAGE] = {0};
	struct timer timer = timer_start(round_ns, BATCH);

	do {
		tell(fd, message, MESSAGE);
		tcp_hear(fd, message, MESSAGE, waited);
		if (message[0])
			break;
		message[0] = !timer_goes_on(&timer);
	} while (true);

	return timer_median(&timer);
}

void
tcp_take(int fd, uint8_t *to, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		hear(fd, to, MIB);
		tell(fd, to, 1);
	}
}

double
tcp_write_round(int fd, const uint8_t *from, unsigned count, unsigned depth)
{
	struct timer timer = timer_start(1e10, depth);
	unsigned done = 0;
	uint8_t byte;

	timer.fixed = true;
	for (unsigned i = 0; i < count; i++) {
		tell(fd, from, MIB);
		for (; i >= depth + done; done++)
			hear(fd, &byte, 1);
		timer_goes_on(&timer);
	}
	for (; done < count; done++)
		hear(fd, &byte, 1);

	return timer_median(&timer);
}

/* --- requests ---------------------------------------------------------------------------------- */

bool
poll_one(struct ibv_cq *cq, double timeout_ns)
{
	double start = 0;
	struct ibv_wc wc;
	int count;

	while ((count = ibv_poll_cq(cq, 1, &wc)) == 0) {
		double now = now_ns();

		if (start == 0)
			start = now;
		else if (now - start > timeout_ns)
			return false;
		/* there may be fewer processors than threads */
		sched_yield();
	}
	if (count < 0)
		broken("ibv_poll_cq");
	if (wc.status != IBV_WC_SUCCESS)
		broken(status_name(wc.status));

	return true;
}
