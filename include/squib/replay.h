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
 * @json, @len:		the file's content; NULL: only @metadata is taken over, nothing is started
 * @metadata, @metadata_len: JSON for the MMDS data store, or NULL
 * @ret_fault:		on failure the text, in Firecracker's words; freed with free()
 *
 * Queues one action after the other, ending with InstanceStart, and waits for each answer, so the
 * queue must be drained by another thread. Requests of clients wait until it is done. A
 * "cpu-config" that names a file is read here.
 *
 * Return: 0 when all was done; -EBADMSG when @metadata is not JSON; -EINVAL when content or an
 * action was refused; -ENOMEM. *@ret_fault is written on failure only, NULL when memory is out.
 */
SQUIB_EXPORT int squib_controller_replay(struct squib_controller *controller,
					 const char *json, size_t len,
					 const char *metadata, size_t metadata_len,
					 char **ret_fault);

#ifdef __cplusplus
}
#endif

#endif
