/* See array_rig.h. */
#include "tests/lib/array_rig.h"

#include "base/cleanup.h"

#include <assert.h>
#include <stdio.h>
#include <xxhash.h>

/* ---- The stand-in for a key ---- */

static void mac_of(const void *bytes, size_t length_bytes, uint8_t *ret_mac, size_t mac_bytes)
{
	uint64_t part;

	for (size_t i = 0; i < mac_bytes; i += sizeof part) {
		part = XXH3_64bits_withSeed(bytes, length_bytes, 0x5ec2e7 + i);
		memcpy(ret_mac + i, &part, sizeof part);
	}
}

static bool label_ok(void *ctx, const uint8_t bytes[LABEL_BYTES])
{
	uint8_t mac[LABEL_MAC_BYTES];
	size_t length_bytes;
	const uint8_t *region = label_mac_region(bytes, &length_bytes);
	struct label label;

	(void)ctx;
	mac_of(region, length_bytes, mac, sizeof mac);
	return !label_decode(bytes, &label) && !memcmp(mac, label.mac, sizeof mac);
}

static void label_mac(void *ctx, uint8_t bytes[LABEL_BYTES])
{
	size_t length_bytes;
	const uint8_t *region = label_mac_region(bytes, &length_bytes);
	struct label label;
	int r = label_decode(bytes, &label);

	(void)ctx;
	assert(!r);
	mac_of(region, length_bytes, label.mac, sizeof label.mac);
	label_encode(&label, bytes);
}

static bool root_ok(void *ctx, const uint8_t record[ROOT_BYTES])
{
	uint8_t tag[ROOT_TAG_BYTES];

	(void)ctx;
	mac_of(record, ROOT_BYTES - ROOT_TAG_BYTES, tag, sizeof tag);
	return !memcmp(tag, record + ROOT_BYTES - ROOT_TAG_BYTES, sizeof tag);
}

static bool promise_ok(void *ctx, const uint8_t bytes[PROMISE_BYTES])
{
	uint8_t mac[LABEL_MAC_BYTES];
	size_t length_bytes;
	const uint8_t *region = promise_mac_region(bytes, &length_bytes);
	struct promise promise;

	(void)ctx;
	mac_of(region, length_bytes, mac, sizeof mac);
	return !promise_decode(bytes, &promise) && !memcmp(mac, promise.mac, sizeof mac);
}

static void promise_mac(void *ctx, uint8_t bytes[PROMISE_BYTES])
{
	size_t length_bytes;
	const uint8_t *region = promise_mac_region(bytes, &length_bytes);
	struct promise promise;
	int r = promise_decode(bytes, &promise);

	(void)ctx;
	assert(!r);
	mac_of(region, length_bytes, promise.mac, sizeof promise.mac);
	promise_encode(&promise, bytes);
}

/* ---- Clock, random numbers, events ---- */

static int64_t rig_now_ns(void *ctx)
{
	(void)ctx;
	return 0;
}

static void rig_random(void *ctx, void *buf, size_t bytes)
{
	struct rig *rig = ctx;

	for (size_t i = 0; i < bytes; i++)
		((uint8_t *)buf)[i] = (uint8_t)(simworld_random(rig->world) >> 8);
}

static void rig_event(void *ctx, const struct event *event)
{
	struct rig *rig = ctx;

	assert((unsigned)event->kind < RIG_EVENT_KINDS);
	rig->events[event->kind]++;
	snprintf(rig->last_text[event->kind], sizeof rig->last_text[0], "%s", event->text);
}

static struct array_options rig_options(struct rig *rig, bool read_only)
{
	return (struct array_options){ .read_only = read_only, .io_timeout_ms = 1000, .env = &rig->env, .events = &rig->sink };
}

/* ---- Making ---- */

static void write_root(struct rig *rig, uint64_t generation, uint64_t tree, uint64_t tree_before, int *ret)
{
	uint8_t record[ROOT_BYTES] = { 0 };
	struct root_header header = { .generation = generation, .predecessor = rig->generation, .tree = tree,
		.tree_before = tree_before };
	bool all;

	array_fill_root(rig->array, &header);
	root_header_encode(&header, record);
	mac_of(record, ROOT_BYTES - ROOT_TAG_BYTES, record + ROOT_BYTES - ROOT_TAG_BYTES, ROOT_TAG_BYTES);
	*ret = array_write_root(rig->array, record, &all);
	if (*ret)
		return;
	rig->generation = generation;
	rig->tree = tree;
	rig->tree_before = tree_before;
}

static int create(struct rig *rig, const struct uuid *array_uuid)
{
	struct label label = { .format_version = FORMAT_VERSION, .array = *array_uuid, .name = "rig", .sequence = 1 };
	struct config config = { .array = *array_uuid, .version = 1, .member_count = rig->count };
	struct array_options options = rig_options(rig, false);
	struct disk *disks[MEMBERS_MAX];
	uint64_t sizes_bytes[MEMBERS_MAX];
	uint32_t granules[MEMBERS_MAX];
	int r;

	for (unsigned i = 0; i < rig->count; i++) {
		disks[i] = simdisk_open(rig->sims[i]);
		sizes_bytes[i] = disks[i]->size_bytes;
	}
	r = geometry_plan(sizes_bytes, rig->count, &label.geometry, granules);
	assert(!r);
	config.geometry = label.geometry;
	for (unsigned i = 0; i < rig->count; i++)
		config.members[i] = (struct config_member){ .uuid = rig->uuids[i], .role = MEMBER_VOTER, .granules = granules[i],
			.size_bytes = sizes_bytes[i] };
	r = config_make_bands(&config);
	assert(!r);
	r = array_create(disks, rig->count, &label, rig->uuids, &config, &options, &rig->array, &rig->fail);
	free(config.bands);
	free(config.columns);
	return r;
}

static void make(struct rig *rig)
{
	int r = create(rig, &rig->uuid);

	assert(!r);
	r = array_flush(rig->array, 1);
	assert(!r);
	write_root(rig, 1, 1, 1, &r);
	assert(!r);
	r = array_create_finish(rig->array, &rig->auth, &rig->fail);
	assert(!r);
	const struct config *made = array_config(rig->array);
	for (uint32_t b = 0; b < made->band_count; b++)
		if (made->bands[b].rows > rig->rows_max)
			rig->rows_max = made->bands[b].rows;
	rig->versions = calloc(made->band_count * rig->rows_max, sizeof *rig->versions);
	rig->written = calloc(made->band_count * rig->rows_max, sizeof *rig->written);
	assert(rig->versions && rig->written);
	rig_close(rig);
}

int rig_remake(struct rig *rig)
{
	struct uuid another;

	uuid_make(&rig->env, &another);
	int r = create(rig, &another);
	rig_close(rig);
	return r;
}

struct rig *rig_new(uint64_t seed, unsigned count, const uint64_t *sizes_bytes)
{
	struct rig *rig = calloc(1, sizeof *rig);

	assert(rig && count <= MEMBERS_MAX);
	rig->world = simworld_new(seed);
	rig->count = count;
	rig->env = (struct env){ .ctx = rig, .now_ns = rig_now_ns, .random = rig_random };
	rig->sink = (struct event_sink){ .ctx = rig, .report = rig_event };
	rig->auth = (struct array_auth){ .label_ok = label_ok, .root_ok = root_ok, .promise_ok = promise_ok,
		.promise_mac = promise_mac, .label_mac = label_mac };
	uuid_make(&rig->env, &rig->uuid);
	for (unsigned i = 0; i < count; i++) {
		rig->sims[i] = simworld_add(rig->world, sizes_bytes[i]);
		uuid_make(&rig->env, &rig->uuids[i]);
	}
	make(rig);
	return rig;
}

void rig_free(struct rig *rig)
{
	rig_close(rig);
	simworld_free(rig->world);
	free(rig->versions);
	free(rig->written);
	free(rig);
}

/* ---- Opening, committing ---- */

int rig_open_mode(struct rig *rig, uint32_t members, bool read_only)
{
	struct array_options options = rig_options(rig, read_only);
	struct disk *disks[MEMBERS_MAX];
	struct probe *probe;
	unsigned count = 0;
	int r;

	assert(!rig->array);
	memset(&rig->fail, 0, sizeof rig->fail);
	memset(rig->events, 0, sizeof rig->events);
	for (unsigned i = 0; i < MEMBERS_MAX; i++)
		if (members >> i & 1)
			disks[count++] = simdisk_open(rig->sims[i]);
	r = array_probe(disks, count, &probe, &rig->fail);
	if (r)
		return r;
	r = array_open(probe, &rig->auth, &options, &rig->array, &rig->fail);
	if (r)
		return r;
	const struct root_header *header = array_root_header(rig->array);
	rig->generation = header->generation;
	rig->tree = header->tree;
	rig->tree_before = header->tree_before;
	return 0;
}

int rig_open(struct rig *rig, uint32_t members)
{
	return rig_open_mode(rig, members, false);
}

void rig_close(struct rig *rig)
{
	array_close(rig->array);
	rig->array = NULL;
}

int rig_begin(struct rig *rig)
{
	int r = array_take_term(rig->array);

	if (!r)
		write_root(rig, rig->generation + 1, rig->tree, rig->tree_before, &r);
	return r;
}

int rig_commit(struct rig *rig)
{
	uint64_t generation = rig->generation + 1;
	int r = array_flush(rig->array, generation);

	if (!r)
		write_root(rig, generation, generation, rig->tree, &r);
	return r;
}

/* ---- Rows ---- */

static uint64_t model_index(const struct rig *rig, uint32_t band_id, uint64_t row)
{
	const struct config *config = array_config(rig->array);
	const struct band *band = config_band(config, band_id);

	assert(band && row < band->rows);
	return (uint64_t)(band - config->bands) * rig->rows_max + row;
}

/* Different for every block of every version; cheap, since gigabytes of it are made. */
static void fill(uint8_t *block, address at, uint32_t version)
{
	uint64_t x = (at + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ (uint64_t)version << 32;

	for (size_t i = 0; i < BLOCK_BYTES; i += sizeof x) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(block + i, &x, sizeof x);
	}
}

void rig_expect(struct rig *rig, address from, uint8_t ret_block[BLOCK_BYTES])
{
	const struct band *band = config_band(array_config(rig->array), address_band(from));
	uint32_t version = rig->versions[model_index(rig, band->id, band_row_of(band, from))];

	if (version)
		fill(ret_block, from, version);
	else
		memset(ret_block, 0, BLOCK_BYTES);
}

uint64_t rig_written(struct rig *rig, uint32_t band, uint64_t row)
{
	return rig->written[model_index(rig, band, row)];
}

int rig_write(struct rig *rig, uint32_t band_id, uint64_t row, unsigned row_count)
{
	const struct band *band = config_band(array_config(rig->array), band_id);
	unsigned blocks = row_count * band_row_blocks(band);
	struct iobuf *data cleanup(iobuf_unrefp) = iobuf_new((size_t)blocks * BLOCK_BYTES);
	uint32_t version = ++rig->next_version;

	for (unsigned i = 0; i < blocks; i++)
		fill(data->data + (size_t)i * BLOCK_BYTES, band_row_address(band, row) + i, version);
	int r = array_write_rows(rig->array, band_id, row, row_count, data);
	for (unsigned i = 0; i < row_count && !r; i++) {
		rig->versions[model_index(rig, band_id, row + i)] = version;
		rig->written[model_index(rig, band_id, row + i)] = rig->generation + 1;
	}
	return r;
}

static int compare(struct rig *rig, address from, unsigned blocks, const struct iobuf *buf, size_t offset_bytes)
{
	uint8_t expected[BLOCK_BYTES];

	for (unsigned i = 0; i < blocks; i++) {
		rig_expect(rig, from + i, expected);
		if (memcmp(expected, buf->data + offset_bytes + (size_t)i * BLOCK_BYTES, BLOCK_BYTES))
			return 1;
	}
	return 0;
}

int rig_check(struct rig *rig, address from, unsigned blocks)
{
	struct iobuf *buf cleanup(iobuf_unrefp) = iobuf_new((size_t)(blocks + 1) * BLOCK_BYTES);
	int r;

	memset(buf->data, 0xa5, buf->bytes);
	r = array_read(rig->array, from, blocks, buf, BLOCK_BYTES);
	if (r)
		return r;
	for (unsigned i = 0; i < BLOCK_BYTES; i++)
		if (buf->data[i] != 0xa5)
			return 1;
	return compare(rig, from, blocks, buf, BLOCK_BYTES);
}

static int check_row_rebuilt(struct rig *rig, const struct band *band, uint64_t row)
{
	struct iobuf *buf cleanup(iobuf_unrefp) = iobuf_new(UNIT_BYTES);

	for (unsigned i = 0; i < band_data_units(band); i++) {
		address from = band_row_address(band, row) + i * UNIT_BLOCKS;
		int r = array_read_rebuilt(rig->array, from, UNIT_BLOCKS, buf, 0);
		if (!r)
			r = compare(rig, from, UNIT_BLOCKS, buf, 0);
		if (r)
			return r;
	}
	return 0;
}

int rig_check_all(struct rig *rig, bool rebuilt)
{
	const struct config *config = array_config(rig->array);
	int r = 0;

	for (uint32_t b = 0; b < config->band_count && !r; b++) {
		const struct band *band = &config->bands[b];
		for (uint64_t row = 0; row < band->rows && !r; row++) {
			if (!rig->versions[(uint64_t)b * rig->rows_max + row])
				continue;
			r = rebuilt ? check_row_rebuilt(rig, band, row) :
				rig_check(rig, band_row_address(band, row), band_row_blocks(band));
		}
	}
	return r;
}
