/* SPDX-License-Identifier: Apache-2.0 */
#include "boot/cmdline.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#define INIT_SEPARATOR " -- "

struct span {
	const char *data;
	size_t len;
};

static struct span trim(struct span span)
{
	while (span.len > 0 && span.data[0] == ' ') {
		span.data++;
		span.len--;
	}
	while (span.len > 0 && span.data[span.len - 1] == ' ')
		span.len--;
	return span;
}

static int invalid(struct fault *fault, const char *reason)
{
	return fault_set(fault, -EINVAL, "Invalid kernel command line: %s", reason);
}

static bool is_printable(const char *line)
{
	for (; *line != '\0'; line++)
		if (*line < ' ' || *line > '~')
			return false;
	return true;
}

/* Does one of the words begin with @prefix? */
static bool has_word(struct span span, const char *prefix)
{
	size_t len = strlen(prefix);

	for (size_t i = 0; i + len <= span.len; i++)
		if ((i == 0 || span.data[i - 1] == ' ') && memcmp(span.data + i, prefix, len) == 0)
			return true;
	return false;
}

static void add(struct buf *line, const char *word)
{
	if (line->len > 0)
		buf_addc(line, ' ');
	buf_adds(line, word);
}

static void add_value(struct buf *line, const char *key, const char *value)
{
	add(line, key);
	buf_adds(line, value);
}

static void add_root_drive(struct buf *line, const struct squib_drive *drive)
{
	if (!drive->is_root_device)
		return;
	if (drive->partuuid != NULL)
		add_value(line, "root=PARTUUID=", drive->partuuid);
	else
		add(line, "root=/dev/vda");
	add(line, drive->is_read_only ? "ro" : "rw");
}

static void add_root_pmem(struct buf *line, const struct squib_pmem *pmem, unsigned int index)
{
	if (!pmem->root_device)
		return;
	add(line, "root=/dev/pmem");
	buf_addf(line, "%u", index);
	add(line, pmem->read_only ? "ro" : "rw");
}

/* Each with what makes it the root in front of it, as upstream attaches one after the other. */
static void add_devices(struct buf *line, const struct cmdline_params *params)
{
	unsigned int pmem_count = 0;

	for (size_t i = 0; i < params->device_count; i++) {
		const struct cmdline_device *device = &params->devices[i];

		if (device->drive != NULL)
			add_root_drive(line, device->drive);
		if (device->pmem != NULL)
			add_root_pmem(line, device->pmem, pmem_count++);
		if (params->arch == SQUIB_ARCH_AARCH64)
			continue;
		add(line, "virtio_mmio.device=4K@");
		buf_addf(line, "0x%" PRIx64 ":%" PRIu32, device->address, device->gsi);
	}
}

static void add_root(struct buf *line, const struct squib_machine *machine)
{
	for (size_t i = 0; i < machine->drive_count; i++)
		add_root_drive(line, machine->drives[i]);
}

bool cmdline_has_console(const char *line)
{
	return strstr(line, "console=") != NULL;
}

static void add_console(struct buf *line, const struct cmdline_params *params, const char *given,
			struct span kernel)
{
	if (params->arch != SQUIB_ARCH_AARCH64 || !cmdline_has_console(given))
		return;
	if (params->console != NULL && has_word(kernel, "console=ttyS0"))
		add_value(line, "console=", params->console);
	if (params->earlycon != NULL)
		add_value(line, "earlycon=", params->earlycon);
}

static void split(const char *line, struct span *kernel, struct span *init)
{
	const char *separator = strstr(line, INIT_SEPARATOR);
	size_t len = separator != NULL ? (size_t)(separator - line) : strlen(line);

	*kernel = trim((struct span){ line, len });
	*init = (struct span){ "", 0 };
	if (separator != NULL) {
		separator += strlen(INIT_SEPARATOR);
		*init = trim((struct span){ separator, strlen(separator) });
	}
}

int cmdline_build(const struct cmdline_params *params, struct buf *ret_line, struct fault *fault)
{
	const char *given = params->machine->boot_source->boot_args;
	struct span kernel, init;

	if (given == NULL)
		given = CMDLINE_DEFAULT;
	if (!is_printable(given))
		return invalid(fault, "String contains a non-printable ASCII character.");
	split(given, &kernel, &init);
	buf_add(ret_line, kernel.data, kernel.len);
	add(ret_line, "pci=off");
	if (params->devices != NULL)
		add_devices(ret_line, params);
	else
		add_root(ret_line, params->machine);
	add_console(ret_line, params, given, kernel);
	if (params->tsc_early_khz != 0) {
		add(ret_line, "tsc_early_khz=");
		buf_addf(ret_line, "%u", params->tsc_early_khz);
		/*
		 * Else, when a busy host makes its ticks late, Linux takes the TSC for wrong and
		 * keeps time by the ticks.
		 */
		if (!has_word(kernel, "tsc="))
			add(ret_line, "tsc=reliable");
	}
	if (init.len > 0) {
		buf_adds(ret_line, INIT_SEPARATOR);
		buf_add(ret_line, init.data, init.len);
	}
	if (buf_error(ret_line) < 0)
		return fault_set(fault, -ENOMEM, "Invalid kernel command line: Out of memory (os error 12)");
	if (ret_line->len + 1 > CMDLINE_MAX)
		return invalid(fault, "Inserting string would make command line too long.");
	if (!is_printable(buf_str(ret_line)))	/* the PARTUUID is the user's, too */
		return invalid(fault, "String contains a non-printable ASCII character.");
	return 0;
}
