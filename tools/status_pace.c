#include "tools/status_pace.h"

const char *status_pace_left(struct status_pace *pace, const struct uuid *array, unsigned what, uint64_t done, uint64_t total,
	int64_t now_ms, char ret_left[PROGRESS_LEFT_BYTES])
{
	unsigned i;

	*ret_left = '\0';
	for (i = 0; i < pace->count; i++)
		if (pace->seen[i].what == what && uuid_equal(&pace->seen[i].array, array))
			break;
	if (i == STATUS_PACES_MAX)
		return ret_left;
	if (i == pace->count || done < pace->seen[i].from || total != pace->seen[i].total) {
		pace->count += i == pace->count;
		pace->seen[i].array = *array;
		pace->seen[i].what = what;
		pace->seen[i].from = done;
		pace->seen[i].total = total;
		pace->seen[i].since_ms = now_ms;
	}
	return progress_left(pace->seen[i].from, done, total, now_ms - pace->seen[i].since_ms, ret_left);
}
