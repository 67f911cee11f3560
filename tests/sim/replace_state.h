/* What tests of replacing want to know of an array, and wait for. */
#ifndef TESTS_SIM_REPLACE_STATE_H
#define TESTS_SIM_REPLACE_STATE_H

#include "tests/sim/story.h"

#define NO_DISK 63u

const struct config *replace_config_of(const struct simfs *sim);
uint8_t replace_role_of(const struct simfs *sim, unsigned member);
/* No change of members is under way or due, and the array is whole. */
bool replace_at_rest(const struct simfs *sim);
/* Works, while time passes, until it is at rest and spares that are there are ready; false if that does not come. */
bool replace_settle(struct simfs *sim);
/* The next mount is given neither of these disks (NO_DISK for none). */
void replace_leave_out(struct simfs *sim, unsigned a, unsigned b);
/* Is everything there that was synced, now and at read-only mounts without each disk?  The disk `unused` is none of the array's, and left out. */
bool replace_is_whole(struct simfs *sim, unsigned unused, const struct story *story);
/* For whoever looks into a failure. */
void replace_tell(const struct simfs *sim);

#endif
