/* SPDX-License-Identifier: BSD-3-Clause */

/* The client of 09-messages-ping-pong: how a server posts its receives makes no difference to a client. */

#include "../09-messages-ping-pong/client.c"
