/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SQUIB_EXPORT_H
#define SQUIB_EXPORT_H

/* Marks what libsquib exports; everything else is built with hidden visibility. */
#if defined(__GNUC__)
#define SQUIB_EXPORT __attribute__((visibility("default")))
#else
#define SQUIB_EXPORT
#endif

#endif
