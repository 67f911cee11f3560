#include "base/event.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

void event_report(const struct event_sink *sink, enum event_kind kind, int member, const char *format, ...)
{
	if (!sink || !sink->report)
		return;
	char text[1024];
	va_list ap;
	va_start(ap, format);
	vsnprintf(text, sizeof text, format, ap);
	va_end(ap);
	sink->report(sink->ctx, &(struct event){ .kind = kind, .member = member, .text = text });
}
