/* SPDX-License-Identifier: BSD-3-Clause */
/* The texts of error codes and of events of a connection. */
#include "common.h"

static void
err_2str(void **unused)
{
	static const struct {
		int code;
		const char *text;
	} strings[] = {
		{0, "Success"},
		{RPMA_E_UNKNOWN, "Unknown error"},
		{RPMA_E_NOSUPP, "Not supported"},
		{RPMA_E_PROVIDER, "Provider error occurred"},
		{RPMA_E_NOMEM, "Out of memory"},
		{RPMA_E_INVAL, "Invalid argument"},
		{RPMA_E_NO_COMPLETION, "No next completion available"},
		{RPMA_E_NO_EVENT, "No next event available"},
		{RPMA_E_AGAIN, "Temporary error, try again"},
		{RPMA_E_SHARED_CHANNEL, "Completion channel is shared"},
		{RPMA_E_NOT_SHARED_CHNL, "Completion channel is not shared"},
		{RPMA_E_NOT_SHARED_CHNL - 1, "Unknown error"},
		{RPMA_E_UNKNOWN + 1, "Unknown error"},
		{-1, "Unknown error"},
		{1, "Unknown error"},
		{INT32_MIN, "Unknown error"},
		{INT32_MAX, "Unknown error"},
	};

	(void)unused;
	for (size_t i = 0; i < COUNT_OF(strings); i++) {
		assert_string_equal(rpma_err_2str(strings[i].code), strings[i].text);
		/* static: the same place each time */
		assert_ptr_equal(rpma_err_2str(strings[i].code), rpma_err_2str(strings[i].code));
	}
}

static void
conn_event_2str(void **unused)
{
	static const struct {
		int event;
		const char *text;
	} strings[] = {
		{RPMA_CONN_UNDEFINED, "Undefined connection event"},
		{RPMA_CONN_ESTABLISHED, "Connection established"},
		{RPMA_CONN_CLOSED, "Connection closed"},
		{RPMA_CONN_LOST, "Connection lost"},
		{RPMA_CONN_REJECTED, "Connection rejected"},
		{RPMA_CONN_UNREACHABLE, "Connection unreachable"},
		{RPMA_CONN_UNREACHABLE + 1, "Unsupported connection event"},
		{RPMA_CONN_UNDEFINED - 1, "Unsupported connection event"},
		{INT32_MIN, "Unsupported connection event"},
		{INT32_MAX, "Unsupported connection event"},
	};

	(void)unused;
	for (size_t i = 0; i < COUNT_OF(strings); i++) {
		const enum rpma_conn_event event = (enum rpma_conn_event)strings[i].event;

		assert_string_equal(rpma_utils_conn_event_2str(event), strings[i].text);
	}
}

static const struct CMUnitTest nodev[] = {
	cmocka_unit_test(err_2str),
	cmocka_unit_test(conn_event_2str),
};

int
main(int argc, char *argv[])
{
	static const struct topic topic = {
		.name = "2str", .nodev = nodev, .nodev_count = COUNT_OF(nodev),
	};

	return topic_main(&topic, argc, argv);
}
