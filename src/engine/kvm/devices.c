/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kvm/devices.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/device_set.h"
#include "virtio/device.h"
#include "virtio/mmio.h"

struct devices {
	const struct vm *vm;
	struct guest_mem *mem;
	struct loop *loop;
	struct log *log;
	struct metrics *metrics;
	struct device_set *set;
	size_t count;
	struct virtio_mmio *slots[ARCH_DEVICES_MAX];
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

static int attach(struct devices *devices, size_t index, struct fault *fault)
{
	struct cmdline_device *place = &devices->places[index];
	struct virtio_mmio_params params = {
		.device = device_set_device(devices->set, index),
		.mem = devices->mem,
		.loop = devices->loop,
		.log = devices->log,
		.metrics = devices->metrics,
	};
	int r = virtio_mmio_new(&params, &devices->slots[index]);

	if (r < 0)
		return failed(fault, r);
	device_set_take(devices->set, index);
	devices->count++;	/* from here on devices_free() knows it */
	place->address = ARCH_DEVICES_ADDRESS + (uint32_t)index * VIRTIO_MMIO_BYTES;
	place->gsi = ARCH_DEVICES_GSI + (uint32_t)index;
	place->drive = device_set_drive(devices->set, index);
	r = connect(devices, devices->slots[index], place);
	return r < 0 ? failed(fault, r) : 0;
}

static int attach_all(struct devices *devices, const struct engine_params *params,
		      const struct engine_machine *machine, struct fault *fault)
{
	struct device_set_params set_params = { .engine = params, .machine = machine,
						.loop = devices->loop };
	int r = device_set_new(&set_params, &devices->set, fault);

	for (size_t i = 0; r == 0 && i < device_set_count(devices->set); i++)
		r = attach(devices, i, fault);
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
	r = attach_all(devices, params, machine, fault);
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
	for (size_t i = 0; i < devices->count; i++)
		virtio_mmio_free(devices->slots[i]);
	device_set_free(devices->set);
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
		virtio_mmio_write(devices->slots[slot], offset % VIRTIO_MMIO_BYTES, data, len);
	else
		virtio_mmio_read(devices->slots[slot], offset % VIRTIO_MMIO_BYTES, data, len);
}

void devices_pause(struct devices *devices)
{
	for (size_t i = 0; i < devices->count; i++)
		virtio_mmio_pause(devices->slots[i]);
}

void devices_resume(struct devices *devices)
{
	for (size_t i = 0; i < devices->count; i++)
		virtio_mmio_resume(devices->slots[i]);
}

struct device_set *devices_set(struct devices *devices)
{
	return devices->set;
}
