/* SPDX-License-Identifier: Apache-2.0 */
/* A tap of the host (Linux's Documentation/networking/tuntap.rst). */
#ifndef SQUIB_NET_TAP_H
#define SQUIB_NET_TAP_H

#include "base/fault.h"
#include "net/backend.h"

/**
 * tap_check_name() - has the host room for this name?
 *
 * Return: 0, or -EINVAL with a @fault as tap_open()'s.
 */
int tap_check_name(const char *name, struct fault *fault);

/**
 * tap_open() - attach to the tap @name; made if there is none and we may
 *
 * Return: its descriptor, or -errno with a @fault behind "Network config error: Could not create
 * the network device: " (contract 2.8).
 */
int tap_open(const char *name, struct fault *fault);

/** tap_backend_new() - frames over a tap. @fd: from tap_open(), duplicated. 0 or -errno */
int tap_backend_new(int fd, struct net_backend **ret_backend);

#endif
