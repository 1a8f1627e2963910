/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/host.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/fd.h"
#include "config/machine.h"
#include "net/tap.h"
#include "vhost_user/block.h"
#include "virtio/block_uring.h"

struct host_file {
	int fd;
	char *path;
};

struct host_drive {
	struct host_drive *next;
	char *drive_id;
	bool is_socket;			/* file is a connection; fd -1: to be made again */
	struct host_file file;
};

struct host_tap {
	struct host_tap *next;
	char *iface_id;
	int fd;
};

struct host {
	bool offline;
	struct host_file kernel;
	struct host_file initrd;
	struct host_drive *drives;
	struct host_tap *taps;
	struct host_file vsock;		/* listening; the path is to be removed with a new one */
};

#define HOST_FILE_NONE ((struct host_file){ .fd = -1 })

static void host_file_done(struct host_file *file)
{
	fd_close(fd_take(&file->fd));
	free(file->path);
	file->path = NULL;
}
static inline void host_file_done_p(struct host_file *file) { host_file_done(file); }

/* Replace *@to by *@from, which is left empty. */
static void host_file_move(struct host_file *to, struct host_file *from)
{
	host_file_done(to);
	*to = *from;
	*from = HOST_FILE_NONE;
}

static void host_drive_free(struct host_drive *drive)
{
	host_file_done(&drive->file);
	free(drive->drive_id);
	free(drive);
}

static void host_tap_free(struct host_tap *tap)
{
	fd_close(tap->fd);
	free(tap->iface_id);
	free(tap);
}

int host_new(bool offline, struct host **ret_host)
{
	struct host *host = calloc(1, sizeof(*host));

	if (host == NULL)
		return -ENOMEM;
	host->offline = offline;
	host->kernel = host->initrd = host->vsock = HOST_FILE_NONE;
	*ret_host = host;
	return 0;
}

void host_release(struct host *host)
{
	host_file_done(&host->kernel);
	host_file_done(&host->initrd);
	while (host->drives != NULL) {
		struct host_drive *drive = host->drives;

		host->drives = drive->next;
		host_drive_free(drive);
	}
	while (host->taps != NULL) {
		struct host_tap *tap = host->taps;

		host->taps = tap->next;
		host_tap_free(tap);
	}
	host_file_done(&host->vsock);	/* the socket file stays, as upstream's does */
}

void host_free(struct host *host)
{
	if (host == NULL)
		return;
	host_release(host);
	free(host);
}

/* Open for reading; a directory opens too, but is no file to boot from. */
static int open_image(const char *path, struct host_file *ret_file)
{
	CLEANUP(host_file_done) struct host_file file = HOST_FILE_NONE;
	struct stat st;

	file.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (file.fd < 0 || fstat(file.fd, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	file.path = strdup(path);
	if (file.path == NULL)
		return -ENOMEM;
	*ret_file = file;
	file = HOST_FILE_NONE;
	return 0;
}

int host_set_boot_source(struct host *host, const struct squib_boot_source *source,
			 struct fault *fault)
{
	CLEANUP(host_file_done) struct host_file kernel = HOST_FILE_NONE;
	CLEANUP(host_file_done) struct host_file initrd = HOST_FILE_NONE;
	char error[OS_ERROR_MAX];
	int r;

	r = open_image(source->kernel_image_path, &kernel);
	if (r < 0)
		return fault_set(fault, r, "Boot source error: The kernel file cannot be opened: %s",
				 os_error(r, error));
	r = source->initrd_path != NULL ? open_image(source->initrd_path, &initrd) : 0;
	if (r < 0)
		return fault_set(fault, r, "Boot source error: The initrd file cannot be opened due "
				 "to invalid path or invalid permissions. %s", os_error(r, error));
	r = boot_args_check(source->boot_args, fault);
	if (r < 0)
		return r;
	host_file_move(&host->kernel, &kernel);
	host_file_move(&host->initrd, &initrd);
	return 0;
}

int host_open_drive_file(const char *path, bool read_only, struct fault *fault)
{
	/* O_NONBLOCK: opening a FIFO somebody left there must not hang the machine */
	int fd = open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK);
	char error[OS_ERROR_MAX];
	struct stat st;
	int r = fd < 0 || fstat(fd, &st) < 0 ? -errno : 0;

	if (r == 0 && !S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		r = S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	/* io_uring does not wait for a file that is not to be waited for */
	if (r == 0 && fcntl(fd, F_SETFL, read_only ? O_RDONLY : O_RDWR) < 0)
		r = -errno;
	if (r == 0)
		return fd;
	fd_close(fd);
	return fault_set(fault, r, "Virtio backend error: Error manipulating the backing file: "
			 "%s %s", os_error(r, error), path);
}

int host_check_pmem_file(const struct squib_pmem *pmem, struct fault *fault)
{
	CLEANUP(fd_close) int fd = open(pmem->path_on_host, (pmem->read_only ? O_RDONLY : O_RDWR) |
					O_CLOEXEC | O_NONBLOCK);
	char error[OS_ERROR_MAX];
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0) {
		int r = -errno;

		return fault_set(fault, r, "Error accessing backing file: %s", os_error(r, error));
	}
	if (S_ISREG(st.st_mode) && st.st_size == 0)
		return fault_set(fault, -EINVAL, "Error backing file size is 0");
	return 0;
}

static struct host_drive *find_drive(const struct host *host, const char *drive_id)
{
	for (struct host_drive *drive = host->drives; drive != NULL; drive = drive->next)
		if (strcmp(drive->drive_id, drive_id) == 0)
			return drive;
	return NULL;
}

static struct host_drive *add_drive(struct host *host, const char *drive_id)
{
	struct host_drive *drive = calloc(1, sizeof(*drive));

	if (drive == NULL)
		return NULL;
	drive->drive_id = strdup(drive_id);
	if (drive->drive_id == NULL) {
		free(drive);
		return NULL;
	}
	drive->file = HOST_FILE_NONE;
	drive->next = host->drives;
	host->drives = drive;
	return drive;
}

/* As upstream, which makes the ring at PUT: what the host cannot do is refused there. */
static int check_io_engine(const struct squib_drive *config, int fd, struct fault *fault)
{
	struct block_uring *uring;
	int r;

	if (config->io_engine != SQUIB_IO_ENGINE_ASYNC)
		return 0;
	r = block_uring_new(fd, &uring, fault);
	if (r == 0)
		block_uring_free(uring);
	return r;
}

static int open_drive(const struct squib_drive *config, struct host_file *file,
		      struct fault *fault)
{
	int fd = host_open_drive_file(config->path_on_host, config->is_read_only, fault);

	if (fd < 0)
		return fd;
	file->fd = fd;
	file->path = strdup(config->path_on_host);
	return check_io_engine(config, fd, fault);
}

static int connect_drive(const struct squib_drive *config, struct host_file *ret_file,
			 struct fault *fault)
{
	int fd = vhost_user_block_connect(config->socket, fault);

	if (fd < 0)
		return fd;
	ret_file->fd = fd;
	ret_file->path = strdup(config->socket);
	return 0;
}

int host_set_drive(struct host *host, const struct squib_drive *config, struct fault *fault)
{
	CLEANUP(host_file_done) struct host_file file = HOST_FILE_NONE;
	struct host_drive *drive;
	int r = 0;

	if (config->path_on_host != NULL)
		r = open_drive(config, &file, fault);
	else if (!host->offline)
		r = connect_drive(config, &file, fault);
	if (r < 0) {
		fault_prefix(fault, "Drive config error: Unable to create the virtio block device: ");
		return r;
	}
	drive = find_drive(host, config->drive_id);
	if (drive == NULL)
		drive = add_drive(host, config->drive_id);
	if (drive == NULL || (file.fd >= 0 && file.path == NULL))
		return fault_set(fault, -ENOMEM, "Drive config error: Out of memory");
	host_file_move(&drive->file, &file);
	drive->is_socket = config->path_on_host == NULL && !host->offline;
	return 0;
}

int host_connect_drives(struct host *host, struct fault *fault)
{
	for (struct host_drive *drive = host->drives; drive != NULL; drive = drive->next) {
		int fd;

		if (!drive->is_socket || drive->file.fd >= 0)
			continue;
		fd = vhost_user_block_connect(drive->file.path, fault);
		if (fd < 0) {
			fault_prefix(fault, "Unable to attach block device to Vmm: ");
			return fd;
		}
		drive->file.fd = fd;
	}
	return 0;
}

void host_disconnect_drives(struct host *host)
{
	for (struct host_drive *drive = host->drives; drive != NULL; drive = drive->next)
		if (drive->is_socket)
			fd_close(fd_take(&drive->file.fd));
}

void host_remove_drive(struct host *host, const char *drive_id)
{
	for (struct host_drive **at = &host->drives; *at != NULL; at = &(*at)->next) {
		struct host_drive *drive = *at;

		if (strcmp(drive->drive_id, drive_id) != 0)
			continue;
		*at = drive->next;
		host_drive_free(drive);
		return;
	}
}

/* Takes @fd over, also when it fails. */
static int add_tap(struct host *host, const char *iface_id, int fd)
{
	struct host_tap *tap = calloc(1, sizeof(*tap));

	if (tap == NULL) {
		fd_close(fd);
		return -ENOMEM;
	}
	tap->fd = fd;
	tap->iface_id = strdup(iface_id);
	if (tap->iface_id == NULL) {
		host_tap_free(tap);
		return -ENOMEM;
	}
	tap->next = host->taps;
	host->taps = tap;
	return 0;
}

int host_set_network_interface(struct host *host, const struct squib_network_interface *interface,
			       struct fault *fault)
{
	int fd, r;

	host_remove_network_interface(host, interface->iface_id);
	fd = tap_open(interface->host_dev_name, fault);
	if (fd < 0) {
		fault_prefix(fault, "Network config error: Could not create the network device: ");
		return fd;
	}
	r = add_tap(host, interface->iface_id, fd);
	return r < 0 ? fault_set(fault, r, "Network config error: Out of memory") : 0;
}

void host_remove_network_interface(struct host *host, const char *iface_id)
{
	for (struct host_tap **at = &host->taps; *at != NULL; at = &(*at)->next) {
		struct host_tap *tap = *at;

		if (strcmp(tap->iface_id, iface_id) != 0)
			continue;
		*at = tap->next;
		host_tap_free(tap);
		return;
	}
}

int host_tap(const struct host *host, const char *iface_id)
{
	for (const struct host_tap *tap = host->taps; tap != NULL; tap = tap->next)
		if (strcmp(tap->iface_id, iface_id) == 0)
			return tap->fd;
	return -1;
}

const char *host_tap_owner(const struct host *host, size_t index)
{
	const struct host_tap *tap = host->taps;

	while (tap != NULL && index-- > 0)
		tap = tap->next;
	return tap != NULL ? tap->iface_id : NULL;
}

static int bind_vsock(const char *path)
{
	CLEANUP(fd_close) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t len = strlen(path);

	if (fd < 0)
		return -errno;
	if (len == 0 || len >= sizeof(address.sun_path))
		return len == 0 ? -EINVAL : -ENAMETOOLONG;
	memcpy(address.sun_path, path, len);
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	if (listen(fd, SOMAXCONN) < 0) {
		int r = -errno;

		unlink(path);
		return r;
	}
	return fd_take(&fd);
}

int host_set_vsock(struct host *host, const struct squib_vsock *vsock, struct fault *fault)
{
	CLEANUP(host_file_done) struct host_file file = HOST_FILE_NONE;
	char error[OS_ERROR_MAX];

	if (host->vsock.path != NULL)
		unlink(host->vsock.path);
	host_file_done(&host->vsock);
	file.path = strdup(vsock->uds_path);
	file.fd = file.path != NULL ? bind_vsock(file.path) : -ENOMEM;
	if (file.fd < 0) {
		int r = file.fd;

		file.fd = -1;
		return fault_set(fault, r, "Vsock config error: Cannot create backend for vsock "
				 "device: Error binding to the host-side Unix socket: %s",
				 r == -ENAMETOOLONG ? "path must be shorter than SUN_LEN" :
						      os_error(r, error));
	}
	host_file_move(&host->vsock, &file);
	return 0;
}

static struct engine_file as_engine_file(const struct host_file *file)
{
	return (struct engine_file){ .fd = file->fd, .path = file->path };
}

struct engine_file host_kernel(const struct host *host)
{
	return as_engine_file(&host->kernel);
}

struct engine_file host_initrd(const struct host *host)
{
	return as_engine_file(&host->initrd);
}

struct engine_file host_drive(const struct host *host, const char *drive_id)
{
	const struct host_drive *drive = find_drive(host, drive_id);

	return drive != NULL ? as_engine_file(&drive->file) : (struct engine_file){ .fd = -1 };
}

struct engine_file host_vsock(const struct host *host)
{
	return as_engine_file(&host->vsock);
}
