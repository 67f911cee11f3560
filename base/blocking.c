#include "base/blocking.h"

#include <stddef.h>

static __thread struct { blocking_handler handler; void *ctx; } own;

void blocking_set(blocking_handler handler, void *ctx)
{
	own.handler = handler;
	own.ctx = ctx;
}

void blocking_begin(enum blocking_for what)
{
	if (own.handler)
		own.handler(own.ctx, what);
}
