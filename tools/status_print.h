/* How the state of arrays is shown: for people, and as JSON.  Pure but for the output. */
#ifndef TOOLS_STATUS_PRINT_H
#define TOOLS_STATUS_PRINT_H

#include "fs/control.h"

#include <stdio.h>

struct status_entry {
	struct control_status status;
	char *mountpoint;                /* NULL: not mounted */
};

struct status_list {
	unsigned count;
	struct status_entry *entries;
};

/* -ENOMEM.  `mountpoint` may be NULL. */
int status_list_add(struct status_list *list, const struct control_status *status, const char *mountpoint);
void status_list_free(struct status_list *list);

void status_print_text(const struct status_list *list, FILE *out);
/* {"version":1,"arrays":[…]}; sizes in bytes, null where unknown. */
void status_print_json(const struct status_list *list, FILE *out);

#endif
