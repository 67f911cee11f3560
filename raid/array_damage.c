/* Units known to be damaged, until somebody mends them: one that its member could not read, or whose bytes did not verify.
 *
 * A short list, oldest first. A unit is in it once; when it is full, what comes is not noted: it is met again when it is read or
 * scrubbed. */
#include "raid/array_impl.h"

static bool same_unit(const struct bad_unit *a, const struct bad_unit *b)
{
	return a->row == b->row && a->band == b->band && a->column == b->column;
}

/* Under the mutex. */
static void forget(struct array *array, const struct bad_unit *unit)
{
	for (unsigned i = 0; i < array->damage_count; i++) {
		if (!same_unit(&array->damage[i], unit))
			continue;
		array->damage_count--;
		memmove(&array->damage[i], &array->damage[i + 1], (array->damage_count - i) * sizeof *unit);
		return;
	}
}

bool array_note_damage(struct array *array, const struct bad_unit *unit)
{
	SCOPED_LOCK(&array->mutex);
	for (unsigned i = 0; i < array->damage_count; i++)
		if (same_unit(&array->damage[i], unit))
			return true;
	if (array->damage_count == DAMAGE_MAX)
		return false;
	array->damage[array->damage_count++] = *unit;
	return true;
}

void array_forget_damage(struct array *array, const struct bad_unit *unit)
{
	SCOPED_LOCK(&array->mutex);
	forget(array, unit);
}

bool array_has_damage(struct array *array)
{
	SCOPED_LOCK(&array->mutex);
	return array->damage_count > 0;
}

bool array_take_damage(struct array *array, struct bad_unit *ret_unit)
{
	SCOPED_LOCK(&array->mutex);
	if (!array->damage_count)
		return false;
	*ret_unit = array->damage[0];
	forget(array, ret_unit);
	return true;
}
