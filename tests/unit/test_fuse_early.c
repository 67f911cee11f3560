/* fs/fuse/fuse_early.c: which WRITEs begin an fsync. */
#include "check.h"

#include "fs/fuse/fuse_internal.h"

#define PAGE 4096u
#define MUCH (65u << 10)

static struct fuse_server server;

static bool written(fuse_ino_t ino) { return fuse_early_written(&server, ino, PAGE); }

/* An fsync after one WRITE, as often as it takes to be sure of the next. */
static void make_sure(fuse_ino_t ino)
{
	fuse_early_synced(&server, ino);
	for (unsigned i = 0; i < 2; i++) {
		CHECK(!written(ino));
		fuse_early_synced(&server, ino);
	}
}

static void who_syncs_each_write(void)
{
	make_sure(2);
	for (unsigned i = 0; i < 100; i++) {
		CHECK(written(2));
		fuse_early_synced(&server, 2);
	}
}

static void who_never_syncs(void)
{
	for (unsigned i = 0; i < 1000; i++)
		CHECK(!written(3));
}

/* One guess was wrong, and none is made until it is known better. */
static void who_does_so_no_more(void)
{
	make_sure(4);
	CHECK(written(4));
	for (unsigned i = 0; i < 100; i++)
		CHECK(!written(4));
	fuse_early_synced(&server, 4);
	CHECK(!written(4));
	fuse_early_synced(&server, 4);
	CHECK(!written(4));
	fuse_early_synced(&server, 4);
	CHECK(written(4));
}

static void syncs_of_nothing(void)
{
	make_sure(5);
	fuse_early_synced(&server, 5);
	CHECK(!written(5));
}

static void much_at_once(void)
{
	make_sure(6);
	CHECK(!fuse_early_written(&server, 6, MUCH));
}

/* Of two files in the same place of the table the one that was synced last is known, and nothing is taken for the other's. */
static void two_of_one_place(void)
{
	make_sure(7);
	CHECK(!written(7 + 256));
	CHECK(written(7));
	fuse_early_synced(&server, 7 + 256);
	CHECK(!written(7));
	make_sure(7 + 256);
	CHECK(written(7 + 256));
}

int main(void)
{
	REQUIRE(fuse_early_start(&server) == 0);
	who_syncs_each_write();
	who_never_syncs();
	who_does_so_no_more();
	syncs_of_nothing();
	much_at_once();
	two_of_one_place();
	fuse_early_stop(&server);
	return CHECK_DONE();
}
