/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The devices with ids that a running machine has: those it was started with and those that came
 * later. The monitor's thread only.
 */
#ifndef SQUIB_VMM_ATTACHED_H
#define SQUIB_VMM_ATTACHED_H

#include <squib/action.h>

enum device_kind {
	DEVICE_DRIVE,
	DEVICE_NETWORK_INTERFACE,
	DEVICE_PMEM,
};

struct device {
	struct device *next;
	enum device_kind kind;
	const char *id;			/* in config */
	const void *config;		/* struct squib_drive and so on; owner keeps it alive */
	bool root;
	struct squib_action *owner;	/* a reference */
};

struct attached {
	struct device *first;
};

/** attached_fill() - the devices of a machine that @action starts; 0 or -ENOMEM */
int attached_fill(struct attached *list, struct squib_action *action);
void attached_done(struct attached *list);

struct device *attached_find(const struct attached *list, enum device_kind kind,
				const char *id);
/** attached_add() - from a PUT; 0 or -ENOMEM */
int attached_add(struct attached *list, struct squib_action *action);
void attached_remove(struct attached *list, struct device *device);

#endif
