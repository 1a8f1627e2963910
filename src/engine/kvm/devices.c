/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kvm/devices.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "virtio/block.h"
#include "virtio/device.h"
#include "virtio/mmio.h"
#include "virtio/rng.h"

struct slot {
	struct virtio_mmio *mmio;
	char *drive_id;		/* NULL: no drive */
};

struct devices {
	const struct vm *vm;
	struct guest_mem *mem;
	struct loop *loop;
	struct log *log;
	struct metrics *metrics;
	size_t count;
	struct slot slots[ARCH_DEVICES_MAX];
	struct cmdline_device places[ARCH_DEVICES_MAX];
};

static int failed(struct fault *fault, int error)
{
	char text[OS_ERROR_MAX];

	return fault_set(fault, error, "Could not attach device: MMIO transport error: %s",
			 os_error(error, text));
}

static int connect(const struct devices *devices, const struct virtio_mmio *mmio,
		   const struct cmdline_device *place)
{
	int r = vm_add_irq(devices->vm, virtio_mmio_irq_fd(mmio), place->gsi);

	for (uint16_t i = 0; r == 0 && i < virtio_mmio_queue_count(mmio); i++)
		r = vm_add_doorbell(devices->vm, virtio_mmio_kick_fd(mmio, i),
				    place->address + VIRTIO_MMIO_NOTIFY_OFFSET, i);
	return r;
}

/* Takes @device in any case. */
static int attach(struct devices *devices, struct virtio_device *device,
		  const struct squib_drive *drive, struct fault *fault)
{
	struct slot *slot = &devices->slots[devices->count];
	struct cmdline_device *place = &devices->places[devices->count];
	struct virtio_mmio_params params = {
		.device = device,
		.mem = devices->mem,
		.loop = devices->loop,
		.log = devices->log,
		.metrics = devices->metrics,
	};
	int r = virtio_mmio_new(&params, &slot->mmio);

	if (r < 0) {
		virtio_device_free(device);
		return failed(fault, r);
	}
	place->address = ARCH_DEVICES_ADDRESS + (uint32_t)devices->count * VIRTIO_MMIO_BYTES;
	place->gsi = ARCH_DEVICES_GSI + (uint32_t)devices->count;
	devices->count++;	/* from here on devices_free() knows it */
	place->drive = drive;
	if (drive != NULL) {
		slot->drive_id = strdup(drive->drive_id);
		if (slot->drive_id == NULL)
			return failed(fault, -ENOMEM);
	}
	r = connect(devices, slot->mmio, place);
	return r < 0 ? failed(fault, r) : 0;
}

static int add_drive(struct devices *devices, const struct squib_drive *drive,
		     const struct engine_file *file, struct fault *fault)
{
	struct block_params params = {
		.config = drive,
		.file_fd = file->fd,
		.loop = devices->loop,
		.log = devices->log,
		.metrics = devices->metrics,
	};
	struct virtio_device *device;
	int r = block_new(&params, &device, fault);

	if (r < 0) {
		fault_prefix(fault, "Unable to attach block device to Vmm: ");
		return r;
	}
	return attach(devices, device, drive, fault);
}

static int add_entropy(struct devices *devices, const struct squib_entropy *entropy,
		       struct fault *fault)
{
	struct rng_params params = {
		.config = entropy,
		.loop = devices->loop,
		.log = devices->log,
		.metrics = devices->metrics,
	};
	struct virtio_device *device;
	int r = rng_new(&params, &device);

	return r < 0 ? failed(fault, r) : attach(devices, device, NULL, fault);
}

static int add_all(struct devices *devices, const struct engine_machine *machine,
		   struct fault *fault)
{
	const struct squib_machine *description = machine->description;
	int r = 0;

	for (size_t i = 0; r == 0 && i < description->drive_count; i++)
		r = add_drive(devices, description->drives[i], &machine->drives[i], fault);
	if (r == 0 && description->entropy != NULL)
		r = add_entropy(devices, description->entropy, fault);
	return r;
}

int devices_new(const struct engine_params *params, const struct vm *vm, struct guest_mem *mem,
		const struct engine_machine *machine, struct devices **ret_devices,
		struct fault *fault)
{
	struct devices *devices = calloc(1, sizeof(*devices));
	int r;

	if (devices == NULL)
		return failed(fault, -ENOMEM);
	devices->vm = vm;
	devices->mem = mem;
	devices->loop = params->loop;
	devices->log = params->log;
	devices->metrics = params->metrics;
	r = add_all(devices, machine, fault);
	if (r < 0) {
		devices_free(devices);
		return r;
	}
	*ret_devices = devices;
	return 0;
}

void devices_free(struct devices *devices)
{
	if (devices == NULL)
		return;
	for (size_t i = 0; i < devices->count; i++) {
		virtio_mmio_free(devices->slots[i].mmio);
		free(devices->slots[i].drive_id);
	}
	free(devices);
}

const struct cmdline_device *devices_list(const struct devices *devices, size_t *ret_count)
{
	*ret_count = devices->count;
	return devices->places;
}

void devices_access(struct devices *devices, uint64_t address, uint8_t *data, uint32_t len,
		    bool is_write)
{
	uint64_t offset = address - ARCH_DEVICES_ADDRESS;	/* huge when it is below */
	uint64_t slot = offset / VIRTIO_MMIO_BYTES;

	if (slot >= devices->count)
		return;
	if (is_write)
		virtio_mmio_write(devices->slots[slot].mmio, offset % VIRTIO_MMIO_BYTES, data, len);
	else
		virtio_mmio_read(devices->slots[slot].mmio, offset % VIRTIO_MMIO_BYTES, data, len);
}

void devices_pause(struct devices *devices)
{
	for (size_t i = 0; i < devices->count; i++)
		virtio_mmio_pause(devices->slots[i].mmio);
}

void devices_resume(struct devices *devices)
{
	for (size_t i = 0; i < devices->count; i++)
		virtio_mmio_resume(devices->slots[i].mmio);
}

int devices_update_drive(struct devices *devices, const struct squib_drive_update *update,
			 int file_fd, struct fault *fault)
{
	for (size_t i = 0; i < devices->count; i++) {
		const struct slot *slot = &devices->slots[i];

		if (slot->drive_id != NULL && strcmp(slot->drive_id, update->drive_id) == 0)
			return block_update(virtio_mmio_device(slot->mmio), update, file_fd, fault);
	}
	return fault_set(fault, -ENODEV, "Failed perform action on device: Device not found");
}
