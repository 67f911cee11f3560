/* Chance, and what all operations of the game share.  See game.h. */
#include "tests/sim/game.h"

#include <stdarg.h>

void fail(struct game *run, const char *format, ...)
{
	char text[700];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	fprintf(stderr, "failed at operation %lu (%s): %s\nlast event: %s\nreplay: test_model --seed %llu --ops %lu --verbose\n", run->op,
		run->doing, text, run->sim ? run->sim->last_event : "", (unsigned long long)run->seed, run->ops);
	exit(1);
}

void doing(struct game *run, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(run->doing, sizeof run->doing, format, args);
	va_end(args);
	if (run->verbose)
		fprintf(stderr, "%lu: %s\n", run->op, run->doing);
}

uint64_t random_u64(struct game *run)
{
	uint64_t z = run->random_state += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

unsigned pick(struct game *run, unsigned below) { return (unsigned)(random_u64(run) % below); }
bool chance(struct game *run, unsigned percent) { return pick(run, 100) < percent; }

uint64_t pick_bytes(struct game *run, uint64_t most)
{
	static const uint32_t edges[] = { 0, 1, 2047, 2048, 2049, 4095, 4096, 4097, 8192, 16383, 16384, 16385, 32768, 65536 };
	uint64_t r = random_u64(run), bytes;
	if (r % 4 == 0)
		bytes = edges[(r >> 8) % ARRAY_COUNT(edges)];
	else if (r % 4 == 1)
		bytes = (r >> 8) % 20000;
	else
		bytes = (r >> 8) % (most + 1);
	return bytes <= most ? bytes : most;
}

void fill_random(struct game *run, uint8_t *bytes, size_t count)
{
	uint64_t x = random_u64(run) | 1;
	for (size_t i = 0; i < count; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		bytes[i] = (uint8_t)x;
	}
}

bool is_growing(const struct game *run) { return run->op / PHASE_OPS % 4 < 2; }

int pick_slot(struct game *run, bool (*wanted)(const struct model_inode *))
{
	unsigned from = pick(run, MODEL_INODES);
	for (unsigned i = 0; i < MODEL_INODES; i++) {
		unsigned slot = (from + i) % MODEL_INODES;
		if (run->now.inodes[slot].ino && wanted(&run->now.inodes[slot]))
			return (int)slot;
	}
	return -1;
}

void nospace(struct game *run, uint64_t wanted_blocks)
{
	struct fs_space space;
	fs_space(fs_of(run), &space);
	run->nospace++;
	if (space.free_blocks > wanted_blocks + 150)
		fail(run, "no space, with %llu of %llu blocks free and %llu wanted", (unsigned long long)space.free_blocks,
			(unsigned long long)space.capacity_blocks, (unsigned long long)wanted_blocks);
}
