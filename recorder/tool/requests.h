/* Client requests of grind's own: the first two are those of recorder/grind.h, for guests.
   SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
#include "valgrind.h"

#define REQUEST_START VG_USERREQ_TOOL_BASE('G', 'R')
#define REQUEST_STOP (VG_USERREQ_TOOL_BASE('G', 'R') + 1)
/* Where the function is whose calls tell of synchronisation: preload/sync.c. */
#define REQUEST_SYNC_MARKER (VG_USERREQ_TOOL_BASE('G', 'R') + 2)
