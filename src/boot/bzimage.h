/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The setup header of a bzImage: offsets in the file, and in the zero page that is made of it
 * (Linux, Documentation/arch/x86/boot.rst and zero-page.rst).
 */
#ifndef SQUIB_BOOT_BZIMAGE_H
#define SQUIB_BOOT_BZIMAGE_H

#define BZ_SETUP_SECTS		0x1f1
#define BZ_SYSSIZE		0x1f4
#define BZ_VID_MODE		0x1fa
#define BZ_BOOT_FLAG		0x1fe
#define BZ_JUMP_LEN		0x201	/* the header ends that far behind BZ_MAGIC */
#define BZ_MAGIC		0x202
#define BZ_VERSION		0x206
#define BZ_TYPE_OF_LOADER	0x210
#define BZ_LOADFLAGS		0x211
#define BZ_CODE32_START		0x214
#define BZ_RAMDISK_IMAGE	0x218
#define BZ_RAMDISK_SIZE		0x21c
#define BZ_CMD_LINE_PTR		0x228
#define BZ_INITRD_ADDR_MAX	0x22c
#define BZ_KERNEL_ALIGNMENT	0x230
#define BZ_RELOCATABLE_KERNEL	0x234
#define BZ_XLOADFLAGS		0x236
#define BZ_CMDLINE_SIZE		0x238
#define BZ_SETUP_DATA		0x250
#define BZ_PREF_ADDRESS		0x258
#define BZ_INIT_SIZE		0x260
#define BZ_HEADER_END		0x268	/* of version 2.11 */
#define BZ_HEADER_MAX		0x290	/* what the zero page has room for */

#define BZ_BOOT_FLAG_VALUE	0xaa55
#define BZ_MAGIC_VALUE		"HdrS"
#define BZ_VERSION_64		0x20c	/* Linux 3.8: xloadflags */
#define BZ_LOADED_HIGH		1
#define BZ_KERNEL_64		1
#define BZ_ENTRY_64		0x200	/* from the start of the protected-mode part */
#define BZ_LOADER_UNDEFINED	0xff
#define BZ_VID_MODE_NORMAL	0xffff

#endif
