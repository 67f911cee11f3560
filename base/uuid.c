#include "base/uuid.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>

void uuid_make(const struct env *env, struct uuid *ret_uuid)
{
	env_random(env, ret_uuid->b, sizeof ret_uuid->b);
	ret_uuid->b[6] = (uint8_t)((ret_uuid->b[6] & 0x0f) | 0x40);
	ret_uuid->b[8] = (uint8_t)((ret_uuid->b[8] & 0x3f) | 0x80);
}

static bool dash_before(int byte) { return byte == 4 || byte == 6 || byte == 8 || byte == 10; }

void uuid_format(const struct uuid *uuid, char text[UUID_TEXT_BYTES])
{
	for (int i = 0; i < 16; i++) {
		if (dash_before(i))
			*text++ = '-';
		text += snprintf(text, 3, "%02x", uuid->b[i]);
	}
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int uuid_parse(const char *text, struct uuid *ret_uuid)
{
	struct uuid uuid;
	for (int i = 0; i < 16; i++) {
		if (dash_before(i) && *text++ != '-')
			return -EINVAL;
		int high = hex_value(text[0]), low = high < 0 ? -1 : hex_value(text[1]);
		if (low < 0)
			return -EINVAL;
		uuid.b[i] = (uint8_t)(high << 4 | low);
		text += 2;
	}
	if (*text)
		return -EINVAL;
	*ret_uuid = uuid;
	return 0;
}
