#include "tests/sim/spoil.h"
#include "fs/data/data.h"

void spoil_unit(struct simfs *sim, address at)
{
	const struct config *config = sim->fs->config;
	const struct band *b = config_band(config, address_band(at));
	uint64_t row = band_row_of(b, at);
	unsigned columns[2] = { band_data_column(b, row, (unsigned)(address_unit(at) % band_data_units(b))), band_parity_column(b, row) };
	uint64_t first = address_block(at) % UNIT_BLOCKS * BLOCK_BYTES;
	for (unsigned i = 0; i < 2; i++) {
		const struct column *c = &b->columns[columns[i]];
		simdisk_flip(sim->world->disks[c->member], column_row_offset_bytes(&config->geometry, c, row) + first + 900 + 100 * i, 0x10);
	}
}

address spoil_find_node(struct fs *fs, const struct disk_pointer *p, uint8_t tree, uint8_t level, uint8_t wanted, unsigned *number)
{
	uint8_t image[NODE_BYTES];
	address at = 0;
	if (level == wanted)
		return (*number)-- == 0 ? le64_get(p->address) : 0;
	if (store_read_node(fs, p, tree, level, image) < 0)
		return 0;
	for (unsigned i = 0; i < image_count(image) && !at; i++)
		at = spoil_find_node(fs, &((const struct branch_value *)image_value(image, i, NULL))->pointer, tree, (uint8_t)(level - 1), wanted,
			number);
	return at;
}

address spoil_node_of(struct fs *fs, struct tree *tree, struct key key, unsigned level)
{
	struct disk_pointer pointer;
	struct op op;
	int r = op_begin(fs, &op, OP_READ, 0);
	do
		r = tree_node_pointer(fs, tree, &key, level, &pointer);
	while (op_retry(&op, &r));
	op_end(&op);
	return r < 0 ? 0 : le64_get(pointer.address);
}

address spoil_data_of(struct fs *fs, uint64_t ino, uint64_t block)
{
	struct extent_walk walk = { .ino = ino, .block = block, .limit = block + 1 };
	struct record_place place = { 0 };
	struct extent extent;
	struct op op;
	int r = op_begin(fs, &op, OP_READ, 0);
	do
		r = extent_walk_next(fs, &walk, &extent);
	while (op_retry(&op, &r));
	if (r == 0)
		extent_record(&extent.item, block, &place);
	op_end(&op);
	return place.address;
}
