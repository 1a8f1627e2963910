/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/args_table.h"

const struct flag_info flag_table[FLAG_COUNT] = {
	[FLAG_API_SOCK] = {
		.name = "api-sock", .takes_value = true,
		.default_value = "/run/firecracker.socket",
		.help = "Path to unix domain socket used by the API.",
	},
	[FLAG_ARCH] = {
		.name = "arch", .takes_value = true,
		.help = "Architecture of the guest: x86_64 or aarch64. Default: the host's.",
	},
	[FLAG_BOOT_TIMER] = {
		.name = "boot-timer",
		.help = "Whether or not to load boot timer device for logging elapsed time since "
			"InstanceStart command.",
	},
	[FLAG_BRIDGED_IFACE] = {
		.name = "bridged-iface", .takes_value = true,
		.help = "Accepted and ignored on Linux.",
	},
	[FLAG_CONFIG_FILE] = {
		.name = "config-file", .takes_value = true,
		.help = "Path to a file that contains the microVM configuration in JSON format.",
	},
	[FLAG_DESCRIBE_SNAPSHOT] = {
		.name = "describe-snapshot", .takes_value = true,
		.help = "Print the data format version of the provided snapshot state file.",
	},
	[FLAG_ENABLE_PCI] = {
		.name = "enable-pci",
		.help = "Enables PCIe support.",
	},
	[FLAG_ENGINE] = {
		.name = "engine", .takes_value = true, .default_value = "auto",
		.help = "What runs the guest: auto, kvm, qemu or mock. auto takes kvm where it works, "
			"else qemu.",
	},
	[FLAG_FORCE_API_SOCK] = {
		.name = "force-api-sock",
		.help = "Replace an existing API socket that nobody answers on.",
	},
	[FLAG_GVPROXY_PATH] = {
		.name = "gvproxy-path", .takes_value = true,
		.help = "Accepted and ignored on Linux.",
	},
	[FLAG_HELP] = {
		.name = "help",
		.help = "Show the help message.",
	},
	[FLAG_HTTP_API_MAX_PAYLOAD_SIZE] = {
		.name = "http-api-max-payload-size", .takes_value = true,
		.default_value = "51200",
		.help = "Http API request payload max size, in bytes.",
	},
	[FLAG_ID] = {
		.name = "id", .takes_value = true, .default_value = "anonymous-instance",
		.help = "MicroVM unique identifier.",
	},
	[FLAG_LEVEL] = {
		.name = "level", .takes_value = true,
		.help = "Set the logger level.",
	},
	[FLAG_LOG_PATH] = {
		.name = "log-path", .takes_value = true,
		.help = "Path to a fifo or a file used for configuring the logger on startup.",
	},
	[FLAG_MACOS_SANDBOX_PROFILE] = {
		.name = "macos-sandbox-profile", .takes_value = true,
		.help = "Accepted and ignored on Linux.",
	},
	[FLAG_METADATA] = {
		.name = "metadata", .takes_value = true,
		.help = "Path to a file that contains metadata in JSON format to add to the mmds.",
	},
	[FLAG_METRICS_PATH] = {
		.name = "metrics-path", .takes_value = true,
		.help = "Path to a fifo or a file used for configuring the metrics on startup.",
	},
	[FLAG_MMDS_SIZE_LIMIT] = {
		.name = "mmds-size-limit", .takes_value = true,
		.help = "Mmds data store limit, in bytes.",
	},
	[FLAG_MODULE] = {
		.name = "module", .takes_value = true,
		.help = "Set the logger module filter.",
	},
	[FLAG_NETWORK] = {
		.name = "network", .takes_value = true, .default_value = "tap",
		.help = "How network interfaces reach the host: tap or userspace.",
	},
	[FLAG_NO_API] = {
		.name = "no-api", .bound = true, .other = FLAG_CONFIG_FILE,
		.help = "Optional parameter which allows starting and using a microVM without an "
			"active API socket.",
	},
	[FLAG_NO_SECCOMP] = {
		.name = "no-seccomp", .bound = true, .excludes = true, .other = FLAG_SECCOMP_FILTER,
		.help = "Optional parameter which allows starting and using a microVM without "
			"seccomp filtering. Not recommended.",
	},
	[FLAG_OPENAPI] = {
		.name = "openapi",
		.help = "Serve the API's description at GET /openapi.json.",
	},
	[FLAG_PARENT_CPU_TIME_US] = {
		.name = "parent-cpu-time-us", .takes_value = true,
		.help = "Parent process CPU time (wall clock, microseconds). This parameter is "
			"optional.",
	},
	[FLAG_SECCOMP_FILTER] = {
		.name = "seccomp-filter", .takes_value = true,
		.bound = true, .excludes = true, .other = FLAG_NO_SECCOMP,
		.help = "Optional parameter which allows specifying the path to a custom seccomp "
			"filter. For advanced users.",
	},
	[FLAG_SHOW_LEVEL] = {
		.name = "show-level",
		.help = "Whether or not to output the level in the logs.",
	},
	[FLAG_SHOW_LOG_ORIGIN] = {
		.name = "show-log-origin",
		.help = "Whether or not to include the file path and line number of the log's "
			"origin.",
	},
	[FLAG_SNAPSHOT_VERSION] = {
		.name = "snapshot-version",
		.help = "Print the supported data format version.",
	},
	[FLAG_START_TIME_CPU_US] = {
		.name = "start-time-cpu-us", .takes_value = true,
		.help = "Process start CPU time (wall clock, microseconds). This parameter is "
			"optional.",
	},
	[FLAG_START_TIME_US] = {
		.name = "start-time-us", .takes_value = true,
		.help = "Process start time (wall clock, microseconds). This parameter is optional.",
	},
	[FLAG_VERSION] = {
		.name = "version",
		.help = "Print the binary version number.",
	},
};
