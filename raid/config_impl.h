/* Private to raid/config*.c: what its files share. */
#ifndef RAID_CONFIG_IMPL_H
#define RAID_CONFIG_IMPL_H

#include "raid/config.h"

/* How many all bands have together. */
static inline uint32_t columns_of_bands(const struct config *config)
{
	uint32_t columns = 0;

	for (uint32_t i = 0; i < config->band_count; i++)
		columns += config->bands[i].width;
	return columns;
}

/* ---- config_check.c ---- */

/* Is it one that may be written, and believed when it is read?  0, -EBADMSG, -ENOMEM. */
int config_check(const struct config *config);

#endif
