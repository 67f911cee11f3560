/* The queue of events for alert programs: order, its bound, floods, and when little space is free. */
#include "check.h"

#include "raid/layout.h"
#include "tools/alert_queue.h"

#include <string.h>

static struct alert_queue *queue;
static struct alert_call call;
static int64_t wait_ms;

static bool push(enum event_kind kind, int member, const char *text)
{
	return alert_queue_push(queue, &(struct event){ kind, member, text }, false);
}

static bool pop(int64_t now_ms) { return alert_queue_pop(queue, now_ms, false, &call, &wait_ms); }

static void test_order(void)
{
	CHECK(!pop(0));
	CHECK_EQ(wait_ms, -1);
	CHECK(alert_queue_push(queue, &(struct event){ EVENT_MEMBER_DROPPED, 3, "old" }, true));
	CHECK(push(EVENT_MEMBER_DROPPED, 2, "one"));
	CHECK(push(EVENT_READ_ONLY, -1, "two"));
	CHECK(!push(EVENT_WARNING, 1, "is only logged"));
	REQUIRE(pop(0));
	CHECK(!strcmp(call.name, "degraded-at-mount") && call.member == 3);
	REQUIRE(pop(0));
	CHECK(!strcmp(call.name, "failed") && !strcmp(call.text, "one") && call.member == 2 && call.count == 1);
	REQUIRE(pop(0));
	CHECK(!strcmp(call.name, "read-only") && !strcmp(call.text, "two") && call.member == -1);
	CHECK(!pop(0));
}

static void test_bound(void)
{
	char text[20], long_text[3 * ALERT_TEXT_BYTES];

	for (unsigned i = 0; i < ALERT_QUEUE_MAX + 10; i++) {
		snprintf(text, sizeof text, "%u", i);
		CHECK(push(EVENT_MEMBER_RETURNED, 0, text));
	}
	CHECK_EQ(alert_queue_lost(queue), 10);
	CHECK_EQ(alert_queue_lost(queue), 0);
	for (unsigned i = 10; i < ALERT_QUEUE_MAX + 10; i++) {
		REQUIRE(pop(0));
		CHECK_EQ(atoi(call.text), i);
	}
	CHECK(!pop(0));
	memset(long_text, 'x', sizeof long_text - 1);
	long_text[sizeof long_text - 1] = '\0';
	CHECK(push(EVENT_MEMBER_RETURNED, 0, long_text));
	CHECK(push(EVENT_HEALED, 0, long_text));
	REQUIRE(pop(0));
	CHECK_EQ(strlen(call.text), ALERT_TEXT_BYTES - 1);
	REQUIRE(pop(0));
	CHECK_EQ(strlen(call.text), ALERT_TEXT_BYTES - 1);
}

/* The first at once, the others together a minute later; each kind and member by itself. */
static void test_floods(void)
{
	int64_t now_ms = 1000000;

	CHECK(push(EVENT_HEALED, 1, "first"));
	REQUIRE(pop(now_ms));
	CHECK(!strcmp(call.name, "healed") && !strcmp(call.text, "first") && call.count == 1 && call.member == 1);
	for (unsigned i = 0; i < 100000; i++)
		push(EVENT_HEALED, 1, i == 99999 ? "last" : "more");
	CHECK(!pop(now_ms + 1000));
	CHECK_EQ(wait_ms, ALERT_INTERVAL_MS - 1000);
	CHECK(push(EVENT_HEALED, 2, "another member"));
	CHECK(push(EVENT_UNREADABLE, -1, "another kind"));
	CHECK(push(EVENT_MEMBER_DROPPED, 1, "goes first"));
	REQUIRE(pop(now_ms + 2000));
	CHECK(!strcmp(call.text, "goes first"));
	REQUIRE(pop(now_ms + 2000));
	CHECK(!strcmp(call.text, "another member") && call.member == 2);
	REQUIRE(pop(now_ms + 2000));
	CHECK(!strcmp(call.text, "another kind") && call.member == -1);
	CHECK(!pop(now_ms + ALERT_INTERVAL_MS - 1));
	CHECK_EQ(wait_ms, 1);
	REQUIRE(pop(now_ms + ALERT_INTERVAL_MS));
	CHECK(!strcmp(call.text, "last"));
	CHECK_EQ(call.count, 100000);
	CHECK(!pop(now_ms + 10 * ALERT_INTERVAL_MS));
	CHECK_EQ(wait_ms, -1);
	CHECK_EQ(alert_queue_lost(queue), 0);

	/* At the end nothing is held back. */
	CHECK(push(EVENT_HEALED, 1, "now"));
	REQUIRE(pop(now_ms + 20 * ALERT_INTERVAL_MS));
	CHECK(push(EVENT_HEALED, 1, "held back"));
	CHECK(!pop(now_ms + 20 * ALERT_INTERVAL_MS + 1));
	REQUIRE(alert_queue_pop(queue, now_ms + 20 * ALERT_INTERVAL_MS + 1, true, &call, &wait_ms));
	CHECK(!strcmp(call.text, "held back"));
}

/* No member that an event can name is out of bounds. */
static void test_members(void)
{
	for (int member = -2; member <= (int)MEMBERS_MAX + 1; member++) {
		CHECK(push(EVENT_HEALED, member, "text"));
		CHECK(alert_queue_pop(queue, 0, true, &call, &wait_ms));
		CHECK_EQ(call.member, member >= 0 && member < (int)MEMBERS_MAX ? member : -1);
	}
}

static void test_space(void)
{
	CHECK_EQ(alert_space_level(0, 50, 1000), 0);
	CHECK_EQ(alert_space_level(0, 49, 1000), 1);
	CHECK_EQ(alert_space_level(1, 49, 1000), 1);
	CHECK_EQ(alert_space_level(1, 69, 1000), 1);
	CHECK_EQ(alert_space_level(1, 70, 1000), 0);
	CHECK_EQ(alert_space_level(0, 9, 1000), 2);
	CHECK_EQ(alert_space_level(1, 9, 1000), 2);
	CHECK_EQ(alert_space_level(2, 29, 1000), 2);
	CHECK_EQ(alert_space_level(2, 30, 1000), 1);
	CHECK_EQ(alert_space_level(2, 500, 1000), 0);
	CHECK_EQ(alert_space_level(0, 0, 1000), 2);
	CHECK_EQ(alert_space_level(0, UINT64_MAX / 50, UINT64_MAX), 1);
	CHECK_EQ(alert_space_level(0, UINT64_MAX / 2, UINT64_MAX), 0);
}

/* A kind without a line in the table would be logged as an emergency. */
static void test_kinds(void)
{
	for (unsigned kind = 0; kind < ALERT_KINDS; kind++)
		CHECK(alert_kind_of((enum event_kind)kind)->priority != 0);
}

int main(void)
{
	test_kinds();
	queue = alert_queue_new();
	REQUIRE(queue);
	test_order();
	test_bound();
	alert_queue_free(queue);
	queue = alert_queue_new();
	REQUIRE(queue);
	test_floods();
	test_members();
	test_space();
	alert_queue_free(queue);
	return CHECK_DONE();
}
