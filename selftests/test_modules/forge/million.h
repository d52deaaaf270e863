/* SPDX-License-Identifier: GPL-2.0-only */
/* A chain whose end nobody should look for. */

FORGERY(sessions_million, NO_DEVICE, LIST NO_END, many_sessions(f, 1000000))
