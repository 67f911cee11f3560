/* The smallest unit-test harness: CHECK counts and reports, CHECK_DONE ends main.
 *
 * A failed CHECK prints where and what, and the test goes on; REQUIRE ends it, for what the rest
 * of the test leans on. */
#ifndef TESTS_UNIT_CHECK_H
#define TESTS_UNIT_CHECK_H

#include <stdio.h>
#include <stdlib.h>

static unsigned check_count, check_failed;

#define CHECK(cond) ((void)(check_count++, (cond) || (check_failed++, \
	fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #cond), 0)))
#define CHECK_EQ(a, b) do { \
	long long check_a_ = (long long)(a), check_b_ = (long long)(b); \
	check_count++; \
	if (check_a_ != check_b_) { \
		check_failed++; \
		fprintf(stderr, "%s:%d: failed: %s is %lld, not %s (%lld)\n", __FILE__, __LINE__, #a, check_a_, #b, check_b_); \
	} \
} while (0)
#define REQUIRE(cond) do { CHECK(cond); if (check_failed) { fprintf(stderr, "stopped\n"); exit(1); } } while (0)

/* The end of main: at least one check must have run. */
#define CHECK_DONE() (fprintf(stderr, "%u checks, %u failed\n", check_count, check_failed), \
	check_failed || !check_count ? 1 : 0)

#endif
