/* Does the kernel offer FUSE over io_uring, and how many queues would it have? */
#include "fs/fuse/fuse_uring_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define SWITCH "/sys/module/fuse/parameters/enable_uring"
#define POSSIBLE_CPUS "/sys/devices/system/cpu/possible"
#define ONLINE_CPUS "/sys/devices/system/cpu/online"

/* The list "0-3,6" in a file of one line. */
static int read_cpus(const char *path, cpu_set_t *ret_cpus)
{
	char text[4096], *at = text;
	FILE *file = fopen(path, "re");
	bool read = file && fgets(text, sizeof text, file);

	if (file)
		fclose(file);
	if (!read)
		return -ENOENT;
	CPU_ZERO(ret_cpus);
	do {
		char *end;
		unsigned long first = strtoul(at, &end, 10), last = *end == '-' ? strtoul(end + 1, &end, 10) : first;
		if (end == at || last >= CPU_SETSIZE)
			return -EINVAL;
		for (unsigned long cpu = first; cpu <= last; cpu++)
			CPU_SET(cpu, ret_cpus);
		at = end + 1;
		if (*end != ',')
			return *end == '\n' ? 0 : -EINVAL;
	} while (true);
}

/* The kernel numbers its queues as the processors that it may ever have, of which none may be left out. */
static int count_queues(unsigned *ret_count, cpu_set_t *ret_online)
{
	cpu_set_t possible;
	int r = read_cpus(POSSIBLE_CPUS, &possible);

	if (!r)
		r = read_cpus(ONLINE_CPUS, ret_online);
	if (r < 0)
		return r;
	*ret_count = (unsigned)CPU_COUNT(&possible);
	for (unsigned cpu = 0; cpu < *ret_count; cpu++)
		if (!CPU_ISSET(cpu, &possible))
			return -EINVAL;
	return *ret_count ? 0 : -EINVAL;
}

static int is_switched_on(void)
{
	char on = 'N';
	FILE *file = fopen(SWITCH, "re");

	if (!file)
		return -ENOSYS;
	size_t n = fread(&on, 1, 1, file);
	fclose(file);
	return n == 1 && on == 'Y' ? 0 : -EPERM;
}

int uring_offer(unsigned *ret_queues, cpu_set_t *ret_online)
{
	int r = is_switched_on();

	return r < 0 ? r : count_queues(ret_queues, ret_online);
}
