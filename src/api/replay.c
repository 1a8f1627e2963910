/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A configuration file is decoded whole and then told to the controller as the requests a client
 * would have sent, one by one, each after the answer to the one before.
 */
#include <squib/replay.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/controller_internal.h"
#include "base/file.h"
#include "base/loop.h"
#include "config/decode.h"

struct replay {
	struct squib_controller *controller;
	struct arena *arena;		/* of the file and all configs in it */
	struct fault *fault;
	struct waiter waiter;
	pthread_mutex_t lock;
	pthread_cond_t ended_cond;
	struct squib_action *ended;	/* under lock: a reference */
};

/* What a fault of a type is called at the API and in a configuration file. */
struct fault_class {
	const char *api;
	const char *file;
};

static const struct fault_class fault_classes[SQUIB_ACTION_TYPE_COUNT] = {
	[SQUIB_PUT_LOGGER] = { "Logger error: ", "Logger error: " },
	[SQUIB_PUT_METRICS] = { "Metrics error: ", "Metrics error: " },
	[SQUIB_PUT_MACHINE_CONFIG] = { "Machine config error: ", "VM config error: " },
	[SQUIB_PUT_CPU_CONFIG] = { "Configure CPU error: ", "Configure CPU error: " },
	[SQUIB_PUT_BOOT_SOURCE] = { "Boot source error: ", "Boot source error: " },
	[SQUIB_PUT_DRIVE] = { "Drive config error: ", "Block device error: " },
	[SQUIB_PUT_NETWORK_INTERFACE] = { "Network config error: ", "Network device error: " },
	[SQUIB_PUT_VSOCK] = { "Vsock config error: ", "Vsock device error: " },
	[SQUIB_PUT_BALLOON] = { "Balloon config error: ", "Balloon device error: " },
	[SQUIB_PUT_MMDS] = { "MMDS limit exceeded error: ", "MMDS error: " },
	[SQUIB_PUT_MMDS_CONFIG] = { "MMMDS config error: ", "MMDS config error: " },
	[SQUIB_PUT_ENTROPY] = { "Entropy config error: ", "Entropy device error: " },
	[SQUIB_PUT_PMEM] = { "Pmem config error: ", "Pmem device error: " },
	[SQUIB_PUT_SERIAL] = { "Serial error: ", "Serial error: " },
	[SQUIB_PUT_MEMORY_HOTPLUG] = { "Memory hotplug config error: ",
				       "Memory hotplug config error: " },
	[SQUIB_INSTANCE_START] = { "Start microvm error: ", "" },
};

static void replay_done(struct waiter *waiter, struct squib_action *action)
{
	struct replay *replay = container_of(waiter, struct replay, waiter);

	pthread_mutex_lock(&replay->lock);
	replay->ended = action;
	pthread_cond_signal(&replay->ended_cond);
	pthread_mutex_unlock(&replay->lock);
}

/* Wait for the end of the one action under way, minding its deadline: there may be no server. */
static struct squib_action *replay_wait(struct replay *replay)
{
	struct squib_action *ended;

	for (;;) {
		uint64_t deadline_ns = controller_expire(replay->controller, clock_ns());
		struct timespec until = { .tv_sec = (time_t)(deadline_ns / 1000000000),
					  .tv_nsec = (long)(deadline_ns % 1000000000) };

		if (deadline_ns == 0)	/* waits for room in the queue: look again */
			until.tv_sec = (time_t)(clock_ns() / 1000000000) + 1;
		pthread_mutex_lock(&replay->lock);
		if (replay->ended == NULL)
			pthread_cond_timedwait(&replay->ended_cond, &replay->lock, &until);
		ended = replay->ended;
		replay->ended = NULL;
		pthread_mutex_unlock(&replay->lock);
		if (ended != NULL)
			return ended;
	}
}

/* Do one action; on failure the fault is its text without the API's class prefix. */
static int replay_action(struct replay *replay, enum squib_action_type type, const char *id,
			 const void *config)
{
	const char *prefix = fault_classes[type].api;
	struct squib_action *action;
	const char *text;
	int r;

	r = action_new(replay->controller, type, replay->arena, id, id ? strlen(id) : 0, config,
		       &action);
	if (r < 0)
		return r;
	action->replay = true;
	controller_submit(replay->controller, action, &replay->waiter);
	action = replay_wait(replay);
	if (action->outcome.status != 204) {
		text = action->outcome.body != NULL ? action->outcome.body : "";
		if (prefix != NULL && strncmp(text, prefix, strlen(prefix)) == 0)
			text += strlen(prefix);
		r = fault_set(replay->fault, -EINVAL, "%s", text);
	}
	squib_action_unref(action);
	return r;
}

/* The same for a config of the file, which may be absent. */
static int replay_config(struct replay *replay, enum squib_action_type type, const char *id,
			 const void *config)
{
	int r = config == NULL ? 0 : replay_action(replay, type, id, config);

	return r == -EINVAL ? fault_prefix(replay->fault, fault_classes[type].file) : r;
}

static int replay_mmds(struct replay *replay, const char *json, size_t len)
{
	struct squib_mmds_data *data;

	if (json == NULL)
		return 0;
	data = arena_new_object(replay->arena, struct squib_mmds_data);
	if (data == NULL)
		return -ENOMEM;
	data->body = json;
	data->body_len = len;
	return replay_action(replay, SQUIB_PUT_MMDS, NULL, data);
}

static int check_metadata(struct replay *replay, const char *json, size_t len)
{
	const void *config;
	int r;

	if (json == NULL)
		return 0;
	r = config_decode(SQUIB_PUT_MMDS, controller_options(replay->controller)->arch, json, len,
			  replay->arena, &config, replay->fault);
	return r != -EINVAL ? r : fault_set(replay->fault, -EBADMSG, "MMDS error: metadata "
					    "provided not valid json");
}

/* "cpu-config" as a path: the file holds what PUT /cpu-config takes. */
static int load_cpu_config(struct replay *replay, struct config_file *file)
{
	CLEANUP(buf_done) struct buf json = BUF_INIT;
	const void *config;
	char error[OS_ERROR_MAX];
	int r;

	if (file->cpu_config_path == NULL)
		return 0;
	r = file_read(file->cpu_config_path, &json);
	if (r < 0)
		return fault_set(replay->fault, -EINVAL, "File operation error: %s",
				 os_error(r, error));
	r = config_decode(SQUIB_PUT_CPU_CONFIG, controller_options(replay->controller)->arch,
			  json.data != NULL ? json.data : "", json.len, replay->arena, &config,
			  replay->fault);
	if (r == -EINVAL)
		return fault_prefix(replay->fault, "Invalid JSON: ");
	file->cpu_config = config;
	return r;
}

static int replay_lists(struct replay *replay, const struct config_file *file)
{
	int r = 0;

	for (size_t i = 0; i < file->drive_count && r == 0; i++)
		r = replay_config(replay, SQUIB_PUT_DRIVE, file->drives[i]->drive_id,
				  file->drives[i]);
	for (size_t i = 0; i < file->network_interface_count && r == 0; i++)
		r = replay_config(replay, SQUIB_PUT_NETWORK_INTERFACE,
				  file->network_interfaces[i]->iface_id,
				  file->network_interfaces[i]);
	return r;
}

static int replay_pmems(struct replay *replay, const struct config_file *file)
{
	int r = 0;

	for (size_t i = 0; i < file->pmem_count && r == 0; i++)
		r = replay_config(replay, SQUIB_PUT_PMEM, file->pmems[i]->id, file->pmems[i]);
	return r;
}

static int replay_all_mmds(struct replay *replay, const struct config_file *file,
			   const char *metadata, size_t metadata_len)
{
	int r = replay_mmds(replay, metadata, metadata_len);

	if (r == 0 && metadata != NULL)
		api_log(replay->controller, INFO, "Successfully added metadata to mmds from file");
	if (r == 0)
		r = replay_mmds(replay, file->mmds, file->mmds_len);
	if (r == -EINVAL)
		return fault_prefix(replay->fault, fault_classes[SQUIB_PUT_MMDS].file);
	return r;
}

/* The order of contract 6.3. */
static int replay_file(struct replay *replay, struct config_file *file, const char *metadata,
		       size_t metadata_len)
{
	int r = load_cpu_config(replay, file);

	if (r == 0)
		r = replay_config(replay, SQUIB_PUT_LOGGER, NULL, file->logger);
	if (r == 0)
		r = replay_config(replay, SQUIB_PUT_METRICS, NULL, file->metrics);
	if (r == 0)
		r = replay_config(replay, SQUIB_PUT_MACHINE_CONFIG, NULL, file->machine_config);
	if (r == 0)
		r = replay_config(replay, SQUIB_PUT_CPU_CONFIG, NULL, file->cpu_config);
	if (r == 0)
		r = replay_config(replay, SQUIB_PUT_BOOT_SOURCE, NULL, file->boot_source);
	if (r == 0)
		r = replay_lists(replay, file);
	if (r == 0)
		r = replay_config(replay, SQUIB_PUT_VSOCK, NULL, file->vsock);
	if (r == 0)
		r = replay_config(replay, SQUIB_PUT_BALLOON, NULL, file->balloon);
	if (r == 0)
		r = replay_all_mmds(replay, file, metadata, metadata_len);
	if (r == 0)
		r = replay_config(replay, SQUIB_PUT_MMDS_CONFIG, NULL, file->mmds_config);
	if (r == 0)
		r = replay_config(replay, SQUIB_PUT_ENTROPY, NULL, file->entropy);
	if (r == 0)
		r = replay_pmems(replay, file);
	if (r == 0)
		r = replay_config(replay, SQUIB_PUT_SERIAL, NULL, file->serial);
	if (r == 0)
		r = replay_config(replay, SQUIB_PUT_MEMORY_HOTPLUG, NULL, file->memory_hotplug);
	if (r == -EINVAL)
		fault_prefix(replay->fault, "Configuration for VMM from one single json failed: ");
	return r;
}

static int replay_start(struct replay *replay)
{
	int r = replay_action(replay, SQUIB_INSTANCE_START, NULL, NULL);

	if (r == -EINVAL)
		return fault_prefix(replay->fault, "Could not Start MicroVM from one single json: ");
	if (r == 0)
		api_log(replay->controller, INFO, "Successfully started microvm that was "
			"configured from one single json");
	return r;
}

static int replay_run(struct replay *replay, const char *json, size_t len, const char *metadata,
		      size_t metadata_len)
{
	struct config_file file = { 0 };
	int r;

	if (json != NULL) {
		r = config_file_decode(json, len, controller_options(replay->controller)->arch,
				       replay->arena, &file, replay->fault);
		if (r == -EINVAL)
			return fault_prefix(replay->fault, "Configuration for VMM from one single "
					    "json failed: Invalid JSON: ");
		if (r < 0)
			return r;
	}
	r = check_metadata(replay, metadata, metadata_len);
	if (r < 0)
		return r;
	if (json == NULL) {
		r = replay_mmds(replay, metadata, metadata_len);
		if (r == 0)
			api_log(replay->controller, INFO, "Successfully added metadata to mmds "
				"from file");
		return r;
	}
	r = replay_file(replay, &file, metadata, metadata_len);
	return r < 0 ? r : replay_start(replay);
}

int squib_controller_replay(struct squib_controller *controller, const char *json, size_t len,
			    const char *metadata, size_t metadata_len, char **ret_fault)
{
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	CLEANUP(arena_unref) struct arena *arena = arena_new();
	struct replay replay = { .controller = controller, .arena = arena, .fault = &fault,
				 .waiter = { .done = replay_done } };
	pthread_condattr_t attr;
	int r;

	if (arena == NULL) {
		*ret_fault = NULL;
		return -ENOMEM;
	}
	pthread_mutex_init(&replay.lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&replay.ended_cond, &attr);
	pthread_condattr_destroy(&attr);
	controller_hold(controller, true);
	r = replay_run(&replay, json, len, metadata, metadata_len);
	controller_hold(controller, false);
	pthread_cond_destroy(&replay.ended_cond);
	pthread_mutex_destroy(&replay.lock);
	if (r < 0)
		*ret_fault = fault.error != 0 ? strdup(fault_text(&fault)) : NULL;
	return r;
}
