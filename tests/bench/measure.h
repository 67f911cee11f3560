/* What the measuring programs share: clocks, processor time, random bytes. */
#ifndef TESTS_BENCH_MEASURE_H
#define TESTS_BENCH_MEASURE_H

#include <stddef.h>
#include <stdint.h>

int64_t measure_now_ns(void);
/* Processor time of the whole machine since it started, in steps of a clock tick: all but idle, iowait and steal.  0 where /proc/stat
 * cannot be read. */
int64_t measure_cpu_ns(void);
/* Processor time of this process. */
int64_t measure_process_ns(void);
/* Random bytes, fast.  0 or -errno. */
int measure_random(void *buf, size_t bytes);

#endif
