/* For programs that say which part of them is to be recorded: include this header and run them under
   `grind record --start-at request`. Outside a recording the macros cost a few instructions and do
   nothing. SPDX-License-Identifier: Apache-2.0 */
#ifndef GRIND_H
#define GRIND_H

#include <valgrind/valgrind.h>

/* Begin recording here. */
#define GRIND_START VALGRIND_DO_CLIENT_REQUEST_STMT(VG_USERREQ_TOOL_BASE('G', 'R'), 0, 0, 0, 0, 0)
/* End recording here; what was recorded is kept. */
#define GRIND_STOP VALGRIND_DO_CLIENT_REQUEST_STMT(VG_USERREQ_TOOL_BASE('G', 'R') + 1, 0, 0, 0, 0, 0)

#endif
