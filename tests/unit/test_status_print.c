/* raid5cryptfs-status: spares, a member that takes another's place, and free places of the table, by statuses made by hand. */
#include "check.h"

#include "base/cleanup.h"
#include "tools/status_print.h"

#include <string.h>

static struct control_status status;

static void set(unsigned member, enum member_role role, bool needed)
{
	struct control_member *m = &status.members[member];

	*m = (struct control_member){ .uuid.b[0] = (uint8_t)(member + 1), .state = MEMBER_IN_SYNC, .role = (uint8_t)role, .needed = needed };
	snprintf(m->path, sizeof m->path, "/dev/d%u", member);
}

/* Three members, a free place, a spare, and one on which the second one's data comes. */
static void begin(void)
{
	status = (struct control_status){ .version = CONTROL_VERSION, .mounted = true, .startable = true, .member_count = 6, .name = "home" };
	for (unsigned i = 0; i < 3; i++)
		set(i, MEMBER_VOTER, true);
	set(3, MEMBER_UNUSED, true);
	set(4, MEMBER_SPARE, false);
	set(5, MEMBER_REPLACEMENT, false);
	status.job = (struct control_job){ .running = true, .source = 1, .targets = 1 << 5, .done_bytes = 37, .total_bytes = 100 };
}

static void print(void (*how)(const struct status_list *list, FILE *out), const char *mountpoint, char **ret_text)
{
	struct status_list list = { 0 };
	struct status_entry *entry;
	size_t bytes;
	FILE *out = open_memstream(ret_text, &bytes);

	REQUIRE(out && control_status_valid(&status) && status_list_add(&list, &status, mountpoint, &entry) == 0);
	how(&list, out);
	REQUIRE(fclose(out) == 0);
	status_list_free(&list);
}

static void look_at(unsigned line, void (*how)(const struct status_list *list, FILE *out), const char *mountpoint, const char *part,
	bool expected)
{
	autofree char *text = NULL;

	print(how, mountpoint, &text);
	check_count++;
	if (!strstr(text, part) == expected) {
		check_failed++;
		fprintf(stderr, "%s:%u: %sexpected: \"%s\" in:\n%s", __FILE__, line, expected ? "" : "not ", part, text);
	}
}

#define SAYS(part) look_at(__LINE__, status_print_text, "/mnt", part, true)
#define SAYS_NOT(part) look_at(__LINE__, status_print_text, "/mnt", part, false)
#define SAYS_UNMOUNTED(part) look_at(__LINE__, status_print_text, NULL, part, true)
#define JSON(part) look_at(__LINE__, status_print_json, "/mnt", part, true)
#define JSON_NOT(part) look_at(__LINE__, status_print_json, "/mnt", part, false)

static void test_people(void)
{
	begin();
	SAYS("Array home [UUU] healthy\n");
	SAYS("  replace        member 6 takes the place of member 2, 37 % [===========                   ]\n");
	SAYS("  member 1    U  /dev/d0  01");
	SAYS("  member 5    S  /dev/d4  05");
	SAYS("  0 bytes, spare\n");
	SAYS("  member 6    R  /dev/d5  06");
	SAYS("  0 bytes, taking the place of member 2 (37 %)\n");
	SAYS_NOT("member 4");
	SAYS_NOT("/dev/d3");
	status.job.waits = true;
	SAYS("member 6 takes the place of member 2, 37 % [===========                   ], waits for a member\n");
	status.job.running = false;
	status.members[5].needed = true;
	SAYS("[UUUU] healthy\n");
	SAYS("  member 6    U  /dev/d5  06");
	SAYS("  0 bytes, taking the place of a member\n");
	SAYS_NOT("replace ");
}

/* Data that goes to several, or to free room on a member that serves. */
static void test_several(void)
{
	begin();
	set(4, MEMBER_REPLACEMENT, false);
	status.job.targets = 1 << 0 | 1 << 4 | 1 << 5;
	SAYS("  move           data of member 2 goes to members 1, 5 and 6, 37 % [===========                   ]\n");
	SAYS("  0 bytes, taking data of member 2 (37 %)\n");
	SAYS_NOT("place");
	JSON("\"job\":{\"source\":1,\"target\":0,\"targets\":[0,4,5],\"waits\":false,");
	status.job.targets = 1 << 0;
	SAYS("  move           data of member 2 goes to member 1, 37 % [===========                   ]\n");
	SAYS("  0 bytes, taking the place of a member\n");
}

/* A spare that is out or not there is told, and the array is no less healthy. */
static void test_spare_out(void)
{
	begin();
	status.members[4].state = MEMBER_OUT;
	SAYS("Array home [UUU] healthy\n");
	SAYS("  member 5    _  /dev/d4  05");
	SAYS("  0 bytes, spare, out\n");
	status.members[4].path[0] = '\0';
	SAYS("  member 5    _  (not there)  05");
	SAYS("  0 bytes, spare, absent\n");
	status.members[5].state = MEMBER_OUT;
	SAYS("taking the place of member 2 (37 %), out\n");
	CHECK_EQ(status_health(&status), STATUS_HEALTHY);
	SAYS_UNMOUNTED("  mounted        no; complete\n");
	/* A member beside it: one is out, and not three. */
	status.members[0].state = MEMBER_OUT;
	status.degraded = true;
	CHECK_EQ(status_health(&status), STATUS_DEGRADED);
	SAYS("Array home [_UU] degraded\n");
	SAYS_UNMOUNTED("  mounted        no; can be mounted without member 1 (out of date)\n");
	status.members[1].state = MEMBER_OUT;
	CHECK_EQ(status_health(&status), STATUS_FAILED);
}

static void test_json(void)
{
	begin();
	JSON("\"map\":\"[UUU]\"");
	JSON("\"job\":{\"source\":1,\"target\":5,\"targets\":[5],\"waits\":false,\"done_bytes\":37,\"total_bytes\":100},\"stalled\":[],"
		"\"members\":[{\"index\":0,");
	JSON("{\"index\":0,\"uuid\":\"01000000-0000-0000-0000-000000000000\",\"role\":\"member\",\"path\":\"/dev/d0\"");
	JSON("},{\"index\":4,\"uuid\":\"05000000-0000-0000-0000-000000000000\",\"role\":\"spare\"");
	JSON("},{\"index\":5,\"uuid\":\"06000000-0000-0000-0000-000000000000\",\"role\":\"replacement\"");
	JSON_NOT("\"index\":3");
	set(0, MEMBER_UNUSED, false);
	JSON("\"members\":[{\"index\":1,");
	status.job.waits = 200;
	JSON("\"waits\":true");
	status.job.running = false;
	JSON("\"job\":null");
}

static void test_scrub(void)
{
	struct scrub_status *s = &status.scrub;

	begin();
	SAYS_NOT("scrub");
	JSON("\"scrub\":null,");
	*s = (struct scrub_status){ .state = SCRUB_RUNNING, .done_bytes = 30, .total_bytes = 100, .speed_bytes = 65536,
		.now = { .began_ns = 5000000000, .rows = 7, .damaged = 2, .unreadable = 1 } };
	SAYS("  scrub          running, 30 % [=========                     ], 2 rows damaged, 1 records lost\n");
	SAYS_NOT("last scrub");
	JSON("\"scrub\":{\"state\":\"running\",\"waits\":false,\"done_bytes\":30,\"total_bytes\":100,\"speed_bytes\":65536,\"rows\":7,"
		"\"damaged\":2,\"unreadable\":1,\"tree_errors\":0,\"unclear\":0,\"by_member\":[],\"began\":5,\"ended\":null,\"last\":null},");
	s->waits = s->has_last = true;
	s->last = (struct scrub_result){ .began_ns = 1000000000, .ended_ns = 86400000000000, .rows = 9, .tree_errors = 3 };
	SAYS("  scrub          running, 30 % [=========                     ], waits, 2 rows damaged, 1 records lost\n  last scrub     1970-01-0");
	SAYS(", 0 rows damaged, 0 records lost, 3 places of the trees unreadable\n");
	JSON("\"last\":{\"rows\":9,\"damaged\":0,\"unreadable\":0,\"tree_errors\":3,\"unclear\":0,\"by_member\":[],\"began\":1,"
		"\"ended\":86400}},");
	s->state = SCRUB_FINISHED;
	s->waits = false;
	s->now = s->last;
	SAYS("  scrub          finished 1970-01-0");
	SAYS_NOT("last scrub");
	s->now.ended_ns = INT64_MIN;
	SAYS("  scrub          finished ");
	s->state = 200;
	SAYS_NOT("scrub");
	JSON("\"scrub\":null,");
}

/* A free place of the table has the UUID of who was there. */
static void test_scrub_members(void)
{
	struct scrub_result *r = &status.scrub.now;

	begin();
	status.scrub.state = SCRUB_RUNNING;
	r->damaged = 30;
	scrub_result_add(r, &status.members[3].uuid, 7);
	SAYS(", 30 rows damaged (a former member: 7 units), 0 records lost\n");
	scrub_result_add(r, &status.members[1].uuid, 17);
	SAYS(", 30 rows damaged (member 2: 17 units, a former member: 7), 0 records lost\n");
	scrub_result_add(r, &status.members[0].uuid, 1);
	r->unclear = 5;
	SAYS(", 30 rows damaged (member 1: 1 units, member 2: 17, a former member: 7), 0 records lost\n");
	JSON("\"unclear\":5,\"by_member\":[{\"uuid\":\"01000000-0000-0000-0000-000000000000\",\"index\":0,\"units\":1},"
		"{\"uuid\":\"02000000-0000-0000-0000-000000000000\",\"index\":1,\"units\":17},"
		"{\"uuid\":\"04000000-0000-0000-0000-000000000000\",\"index\":null,\"units\":7}],\"began\"");
}

static void test_why_read_only(void)
{
	begin();
	SAYS_NOT("  read-only ");
	JSON("\"why_read_only\":null,");
	status.read_only = true;
	status.startable = false;
	snprintf(status.why_read_only, sizeof status.why_read_only, "It \"broke\".\x1b");
	SAYS("  read-only      It \"broke\".?\n");
	JSON("\"read_only\":true,\"why_read_only\":\"It \\\"broke\\\".\\u001b\",");
	memset(status.why_read_only, 'x', sizeof status.why_read_only);
	CHECK(!control_status_valid(&status));
}

static void test_stalled(void)
{
	begin();
	SAYS_NOT("stalled");
	JSON("\"stalled\":[],");
	snprintf(status.stalled[STALL_CATCHUP], STALL_TEXT_BYTES, "It \"rests\".\x1b");
	snprintf(status.stalled[STALL_SCRUB], STALL_TEXT_BYTES, "So does this.");
	SAYS("  stalled        It \"rests\".?\n  stalled        So does this.\n");
	JSON("\"stalled\":[{\"task\":\"catch-up\",\"text\":\"It \\\"rests\\\".\\u001b\"},{\"task\":\"scrub\",\"text\":\"So does this.\"}],");
	memset(status.stalled[STALL_REPLACE], 'x', STALL_TEXT_BYTES);
	CHECK(!control_status_valid(&status));
}

/* What serves a mount may answer anything. */
static void test_hostile(void)
{
	begin();
	status.job.source = 6;
	JSON("\"job\":null");
	SAYS_NOT("replace ");
	SAYS("taking the place of a member\n");
	status.job.source = 1;
	status.job.targets = 0;
	JSON("\"job\":null");
	status.job.targets = 1 << 6;
	JSON("\"job\":null");
	SAYS_NOT("replace ");
	status.job = (struct control_job){ .running = true, .source = 255, .targets = UINT32_MAX };
	JSON("\"job\":null");
	status.job = (struct control_job){ .running = true, .source = 1, .targets = 1 << 5, .done_bytes = UINT64_MAX, .total_bytes = 1 };
	SAYS("member 6 takes the place of member 2, 100 % [==============================]\n");
	JSON("\"done_bytes\":18446744073709551615,\"total_bytes\":1}");
	for (unsigned i = 0; i < status.member_count; i++)
		status.members[i].role = MEMBER_UNUSED;
	SAYS("Array home [] healthy\n");
	JSON("\"members\":[],\"others\":[]");
	status.members[0].role = 200;
	JSON("\"role\":\"member\"");
}

/* A disk that was a member whose place is free now is a stranger. */
static void test_others(void)
{
	struct status_list list = { 0 };
	struct status_entry *entry;

	begin();
	REQUIRE(status_list_add(&list, &status, NULL, &entry) == 0);
	REQUIRE(status_entry_add_other(entry, "/dev/x", &status.members[3].uuid) == 0);
	REQUIRE(status_entry_add_other(entry, "/dev/y", &status.members[4].uuid) == 0);
	CHECK_EQ(entry->others[0].index, -1);
	CHECK_EQ(entry->others[1].index, 4);
	status_list_free(&list);
}

static void job_says(struct status_list *list, int64_t now_ms, uint64_t done, const char *part, bool expected)
{
	autofree char *text = NULL;
	size_t bytes;
	FILE *out = open_memstream(&text, &bytes);

	REQUIRE(out);
	list->now_ms = now_ms;
	list->entries[0]->status.job.done_bytes = done;
	status_print_text(list, out);
	REQUIRE(fclose(out) == 0);
	CHECK(!strstr(text, part) != expected);
}

/* A watch says how long what is left takes at the pace since it was first seen. */
static void test_pace(void)
{
	struct status_list list = { 0 };
	struct status_pace pace = { 0 };
	struct status_entry *entry;

	begin();
	status.job.total_bytes = 10000;
	REQUIRE(status_list_add(&list, &status, "/mnt", &entry) == 0);
	job_says(&list, 1000, 1000, "left", false);
	list.pace = &pace;
	job_says(&list, 5000, 1000, "left", false);
	job_says(&list, 9000, 1000, "left", false);
	job_says(&list, 15000, 2000, ", 20 % [======                        ], about 81 s left\n", true);
	job_says(&list, 105000, 2000, "about 13 min left", true);
	job_says(&list, 106000, 500, "left", false);     /* it began anew */
	job_says(&list, 110000, 3500, "about 10 s left", true);
	status_list_free(&list);
}

int main(void)
{
	test_people();
	test_pace();
	test_several();
	test_spare_out();
	test_json();
	test_scrub();
	test_scrub_members();
	test_stalled();
	test_why_read_only();
	test_hostile();
	test_others();
	return CHECK_DONE();
}
