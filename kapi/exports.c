// SPDX-License-Identifier: GPL-2.0-only
/*
 * What other modules may call: functions of handler_api.rs. As in rust/exports.c, only
 * C can export them.
 */

#include <linux/export.h>

#include "bindings_helper.h"

EXPORT_SYMBOL_GPL(liveupdate_enabled);
EXPORT_SYMBOL_GPL(liveupdate_register_file_handler);
EXPORT_SYMBOL_GPL(liveupdate_unregister_file_handler);
EXPORT_SYMBOL_GPL(liveupdate_register_flb);
EXPORT_SYMBOL_GPL(liveupdate_unregister_flb);
EXPORT_SYMBOL_GPL(liveupdate_flb_get_incoming);
EXPORT_SYMBOL_GPL(liveupdate_flb_put_incoming);
EXPORT_SYMBOL_GPL(liveupdate_flb_get_outgoing);
EXPORT_SYMBOL_GPL(liveupdate_flb_put_outgoing);
EXPORT_SYMBOL_GPL(liveupdate_ext_session);
EXPORT_SYMBOL_GPL(liveupdate_get_token_outgoing);
EXPORT_SYMBOL_GPL(liveupdate_get_file_incoming);
