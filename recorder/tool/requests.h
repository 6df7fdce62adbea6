/* Client requests of grind's own: the first two are those of recorder/grind.h, for guests.
   SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
#include "valgrind.h"

#define REQUEST_START VG_USERREQ_TOOL_BASE('G', 'R')
#define REQUEST_STOP (VG_USERREQ_TOOL_BASE('G', 'R') + 1)
/* Where the function is whose calls tell of synchronisation: preload/sync.c. */
#define REQUEST_SYNC_MARKER (VG_USERREQ_TOOL_BASE('G', 'R') + 2)
/* What the marker is told of OpenMP's tasks: as the operations of `sync` that begin with task, in their order. */
#define REQUEST_TASKS (VG_USERREQ_TOOL_BASE('G', 'R') + 16)
enum {
   TASK_CREATE_BEGIN = REQUEST_TASKS,
   TASK_CREATE,
   TASK_DEPEND,
   TASK_BEGIN,
   TASK_END,
   TASKWAIT_BEGIN,
   TASKWAIT,
   TASKGROUP,
   TASKGROUP_END_BEGIN,
   TASKGROUP_END,
   TASKS_DONE,
   TASK_FULFILL,
   REQUEST_TASKS_END
};
/* Those of recorder/grind-capabilities.h that have a name as their second argument. */
#define REQUEST_CAP_SPACE (VG_USERREQ_TOOL_BASE('G', 'R') + 0x40)
#define REQUEST_CAP_OBJECT (VG_USERREQ_TOOL_BASE('G', 'R') + 0x42)
/* Of a task that is created: it is executed at once; so are those that it creates; who creates it waits for it; there
   are several, of a loop. */
#define TASK_IS_UNDEFERRED 1
#define TASK_IS_FINAL 2
#define TASK_IS_GROUPED 4
#define TASK_IS_LOOP 8
/* How a task depends on what was said of the same address before. */
enum { DEPEND_IN, DEPEND_OUT, DEPEND_SET };
