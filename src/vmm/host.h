/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the machine uses of the host: files and taps that were opened when their resource was
 * configured, so that what was checked is what the guest gets. By id; replaced and forgotten as the
 * configuration is. The monitor's thread only.
 */
#ifndef SQUIB_VMM_HOST_H
#define SQUIB_VMM_HOST_H

#include <squib/config.h>

#include "base/fault.h"
#include "engine/engine.h"

struct host;

/** host_new() - @offline: connect to nobody, since there will be no guest. 0 or -errno */
int host_new(bool offline, struct host **ret_host);
void host_free(struct host *host);

/**
 * host_set_boot_source() / host_set_drive() / host_set_network_interface() / host_set_vsock() - open
 * what a config names
 *
 * On failure the one before stays, except for vsock, whose socket is removed before the new one is
 * bound, and for network interfaces: a tap can be opened once, so the one before is closed first.
 * Faults are whole texts with the class prefix (contract 2.3, 2.7, 2.8, 2.10).
 */
int host_set_boot_source(struct host *host, const struct squib_boot_source *source,
			 struct fault *fault);
int host_set_drive(struct host *host, const struct squib_drive *drive, struct fault *fault);
int host_set_network_interface(struct host *host, const struct squib_network_interface *interface,
			       struct fault *fault);
int host_set_vsock(struct host *host, const struct squib_vsock *vsock, struct fault *fault);

/**
 * host_connect_drives() - make the connections of drives by "socket" that are not there
 *
 * Return: 0, or -errno with @fault, a whole text behind "Start microvm error: ".
 */
int host_connect_drives(struct host *host, struct fault *fault);
/**
 * host_disconnect_drives() - a machine could not be started with them
 *
 * What was said on a connection cannot be said again, so the next start has others.
 */
void host_disconnect_drives(struct host *host);

/**
 * host_release() - close the files a machine was started with; the engine has its own by then
 *
 * Else they would be held when a drive has long got another file, or is unplugged.
 */
void host_release(struct host *host);

/** host_remove_drive() - close the file of an unplugged drive; nothing if there is none */
void host_remove_drive(struct host *host, const char *drive_id);
/** host_remove_network_interface() - the same for a tap */
void host_remove_network_interface(struct host *host, const char *iface_id);

/**
 * host_open_drive_file() - open a drive's backing file
 *
 * The fault is "Virtio backend error: Error manipulating the backing file: ‹io› ‹path›".
 */
int host_open_drive_file(const char *path, bool read_only, struct fault *fault);

/**
 * host_check_pmem_file() - can a pmem device be made of its file?
 *
 * The fault is "Error accessing backing file: ‹io›" or "Error backing file size is 0".
 */
int host_check_pmem_file(const struct squib_pmem *pmem, struct fault *fault);

struct engine_file host_kernel(const struct host *host);
struct engine_file host_initrd(const struct host *host);	/* fd -1: none */
struct engine_file host_vsock(const struct host *host);		/* fd -1: none */
struct engine_file host_drive(const struct host *host, const char *drive_id);

/** host_tap() - the tap of a network interface, -1: none */
int host_tap(const struct host *host, const char *iface_id);
/** host_tap_owner() - the id of the @index-th interface that has a tap; NULL: no more */
const char *host_tap_owner(const struct host *host, size_t index);

#endif
