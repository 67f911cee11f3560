#include "base/fail.h"

#include <stdarg.h>
#include <stdio.h>

int fail_set(struct fail *fail, int err, enum fail_code code, const char *format, ...)
{
	if (fail) {
		va_list ap;
		va_start(ap, format);
		vsnprintf(fail->text, sizeof fail->text, format, ap);
		va_end(ap);
		fail->code = code;
	}
	return -err;
}
