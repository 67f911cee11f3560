/* How the state of arrays is shown: for people, and as JSON.  Pure but for the output. */
#ifndef TOOLS_STATUS_PRINT_H
#define TOOLS_STATUS_PRINT_H

#include "tools/status_list.h"

#include <stdio.h>

void status_print_text(const struct status_list *list, FILE *out);
/* As doc/status-json.md has it. */
void status_print_json(const struct status_list *list, FILE *out);

#endif
