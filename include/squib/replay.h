/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configuration files: the same actions, through the same checks and the same queue, in the fixed
 * order of contract 6.3.
 */
#ifndef SQUIB_REPLAY_H
#define SQUIB_REPLAY_H

#include <squib/controller.h>
#include <squib/export.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * squib_controller_replay() - configure and start a machine from a configuration file's content
 * @json, @len:		the file's content
 * @metadata, @metadata_len: content for the MMDS data store, or NULL
 * @ret_fault:		on failure the text, in Firecracker's words; freed with free()
 *
 * Queues one action after the other, ending with InstanceStart, and waits for each answer, so the
 * queue must be drained by another thread. Requests of clients wait until it is done.
 *
 * Return: 0 when the machine runs; -EINVAL with *@ret_fault when content or an action was
 * refused; -ETIMEDOUT, -ESHUTDOWN or -ENOMEM, with *@ret_fault too.
 */
SQUIB_EXPORT int squib_controller_replay(struct squib_controller *controller,
					 const char *json, size_t len,
					 const char *metadata, size_t metadata_len,
					 char **ret_fault);

#ifdef __cplusplus
}
#endif

#endif
