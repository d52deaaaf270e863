/* SPDX-License-Identifier: GPL-2.0-only */
/* A chain that is far too long to be walked to its end. */

/* clang-format off */

FORGERY(sessions_million, NO_DEVICE, LIST NO_END, many_sessions(f, 1000000))
