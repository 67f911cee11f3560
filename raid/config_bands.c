/* The first cut: the bands of a new array.
 *
 * Band i takes granule i of every voter that has so many, so it is as wide as can be.  There are as many bands as two members have
 * granules: what one has beyond that would stand alone, and is left free.  The columns of band i begin i members further on, so that
 * parity is spread over all of them even where a band is shorter than a parity run. */
#include "raid/config.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

static uint32_t voter_granules(const struct config *config, unsigned member)
{
	return config->members[member].role == MEMBER_VOTER ? config->members[member].granules : 0;
}

int config_make_bands(struct config *config)
{
	uint32_t largest = 0, count = 0;
	size_t columns = 0;
	struct column *next;

	assert(!config->bands && !config->columns);
	for (unsigned m = 0; m < config->member_count; m++) {
		uint32_t granules = voter_granules(config, m), shared = granules < largest ? granules : largest;
		count = shared > count ? shared : count;
		largest = granules > largest ? granules : largest;
	}
	if (count > BAND_ID_MAX)
		return -E2BIG;
	for (unsigned m = 0; m < config->member_count; m++)
		columns += voter_granules(config, m) < count ? voter_granules(config, m) : count;
	config->bands = calloc(count + 1u, sizeof(*config->bands));
	config->columns = next = calloc(columns + 1, sizeof(*config->columns));
	if (!config->bands || !config->columns) {
		free(config->bands);
		free(config->columns);
		config->bands = NULL;
		config->columns = NULL;
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < count; i++) {
		struct band *band = &config->bands[i];
		uint8_t members[MEMBERS_MAX], width = 0;
		for (unsigned m = 0; m < config->member_count; m++) {
			if (voter_granules(config, m) > i)
				members[width++] = (uint8_t)m;
		}
		*band = (struct band){ .id = i + 1, .width = width, .granules = 1,
			.rows = config->geometry.granule_bytes / UNIT_BYTES, .columns = next };
		for (unsigned c = 0; c < width; c++)
			*next++ = (struct column){ .member = members[(i + c) % width], .granule = i };
	}
	config->band_count = count;
	config->next_band_id = count + 1;
	return 0;
}
