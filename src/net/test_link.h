/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: network interfaces of the host, in a network namespace of the test's own. */
#ifndef SQUIB_NET_TEST_LINK_H
#define SQUIB_NET_TEST_LINK_H

#include <stdbool.h>

#define TEST_ETHERTYPE 0x88b5u	/* for experiments; no other frame of it is about */

/** link_namespace() - move to a namespace with no interfaces. NULL, or why taps cannot be tested */
const char *link_namespace(void);

/** link_set() - take @name up or down; no other frames come from it when it is up */
void link_set(const char *name, bool up);
void link_delete(const char *name);

/** link_socket() - a packet socket that sends and receives TEST_ETHERTYPE at @name; never blocks */
int link_socket(const char *name);

#endif
