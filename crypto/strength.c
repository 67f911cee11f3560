/* The estimate goes through the passphrase once and adds up, in tenths of a bit, what each character tells that those before it
 * did not.  A random string of characters gets the logarithm of its alphabet for each; natural words get less, as text has
 * about 2.6 bits a letter when its words are chosen at random (a word list of 7776 words: 12.9 bits for 5 letters). */
#include "crypto/strength.h"

#include "base/cleanup.h"
#include "crypto/key.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#define WORD_LETTERS_MIN 4u          /* letters in a row that may be a word; three of 26 are worth about a word anyway */
#define WORD_TENTHS 26u
#define DIGIT_TENTHS 33u
#define GUESSED_TENTHS 5u            /* a repeat or the next of a sequence */
#define COMMON_BITS 7u               /* one of the first hundred of any list */
#define COMMON_EXTRA_TENTHS 25u      /* each character added before or after it */

/* Stems: what surrounds them is stripped before comparing. */
static const char *const common[] = {
	"password", "passwort", "passw0rd", "p@ssw0rd", "pass", "qwerty", "qwertz", "qwertyuiop", "azerty", "asdf",
	"asdfgh", "asdfghjkl", "zxcvbn", "zxcvbnm", "1q2w3e4r", "1qaz2wsx", "qazwsx", "abc", "admin", "administrator",
	"root", "toor", "user", "guest", "test", "testing", "default", "changeme", "secret", "geheim", "letmein", "welcome",
	"hello", "hallo", "iloveyou", "love", "sunshine", "princess", "monkey", "dragon", "master", "shadow", "football",
	"baseball", "superman", "batman", "trustno1", "whatever", "freedom", "starwars", "computer", "internet", "samsung",
	"login", "michael", "daniel", "thomas", "charlie", "jordan", "ashley", "jessica", "nicole", "hunter", "killer",
	"access", "flower", "cheese", "summer", "winter", "storage", "backup", "server", "raid", "raid5cryptfs",
	"correct horse battery staple", "correcthorsebatterystaple",
};

/* Bits of a common password with something around it; 0 if it is none. */
static unsigned common_bits(const char *text, size_t length)
{
	size_t begin = 0, end = length;

	for (int stripped = 0; stripped < 2; stripped++) {
		for (size_t i = 0; i < ARRAY_COUNT(common); i++) {
			size_t n = strlen(common[i]);
			if (end - begin == n && !strncasecmp(text + begin, common[i], n))
				return COMMON_BITS + (unsigned)(length - n) * COMMON_EXTRA_TENTHS / 10;
		}
		while (begin < end && !isalpha((unsigned char)text[begin]))
			begin++;
		while (end > begin && !isalpha((unsigned char)text[end - 1]))
			end--;
	}
	return 0;
}

/* Tenths of the logarithm of the alphabet that the passphrase draws on. */
static unsigned alphabet_tenths(const char *text)
{
	unsigned bit_tenths = 0;
	bool lower = false, upper = false, digit = false, space = false, mark = false, other = false;

	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		lower |= islower(c) != 0;
		upper |= isupper(c) != 0;
		digit |= isdigit(c) != 0;
		space |= c == ' ';
		mark |= ispunct(c) != 0;
		other |= c >= 0x80;
	}
	unsigned size = lower * 26u + upper * 26u + digit * 10u + space * 1u + mark * 32u + other * 32u;
	/* 10 log2(size), by tenth roots of two: 2^(1/10) is 1.0718. */
	for (double power = 1.0; power < size; power *= 1.0717734625362931)
		bit_tenths++;
	return bit_tenths;
}

/* Letters, and the digits that people write for letters inside a word. */
static bool letterish(char c) { return isalpha((unsigned char)c) || (c && strchr("01345", c)); }

/* Number of letters in the run of letterish characters that position i lies in. */
static unsigned word_letters(const char *text, size_t i)
{
	unsigned letters = 0;

	if (!letterish(text[i]))
		return 0;
	while (i > 0 && letterish(text[i - 1]))
		i--;
	for (; letterish(text[i]); i++)
		letters += isalpha((unsigned char)text[i]) != 0;
	return letters;
}

/* How text[i] follows from text[i - 1]: the same, the next or the last of the alphabet, or a neighbour on a keyboard's row. */
enum { STEP_SAME = 1, STEP_UP = 2, STEP_DOWN = 4, STEP_RIGHT = 8, STEP_LEFT = 16 };
static unsigned steps(const char *text, size_t i)
{
	static const char rows[] = " qwertyuiop asdfghjkl zxcvbnm 1234567890 ";
	int before = tolower((unsigned char)text[i - 1]), now = tolower((unsigned char)text[i]);
	unsigned found = before == now ? STEP_SAME : 0;

	if (isalnum(before) && isalnum(now)) {
		const char *at = strchr(rows, before);
		if (now - before == 1)
			found |= STEP_UP;
		if (before - now == 1)
			found |= STEP_DOWN;
		if (at && at[1] == now)
			found |= STEP_RIGHT;
		if (at && at[-1] == now)
			found |= STEP_LEFT;
	}
	return found;
}

/* Does text[i] go on with the sequence of the two before it? */
static bool follows(const char *text, size_t i)
{
	return i >= 2 && (steps(text, i - 1) & steps(text, i));
}

/* Does a part of at least 4 characters that ends at i stand earlier in the text too? */
static bool repeats(const char *text, size_t i)
{
	for (size_t j = 4; i >= 7 && j <= i - 3; j++)
		if (!memcmp(text + j - 4, text + i - 3, 4))
			return true;
	return false;
}

unsigned passphrase_strength_bits(const char *passphrase)
{
	/* An attacker gains nothing from what lies beyond, and the search for repeats stays short. */
	enum { CONSIDERED_BYTES = 256 };
	char text[CONSIDERED_BYTES + 1];
	size_t length = strnlen(passphrase, CONSIDERED_BYTES);

	memcpy(text, passphrase, length);
	text[length] = '\0';
	unsigned tenths = 0, alphabet = alphabet_tenths(text);
	for (size_t i = 0; i < length; i++) {
		unsigned worth = alphabet;
		if (isdigit((unsigned char)text[i]) && worth > DIGIT_TENTHS)
			worth = DIGIT_TENTHS;
		if (word_letters(text, i) >= WORD_LETTERS_MIN && worth > WORD_TENTHS)
			worth = WORD_TENTHS;
		if ((follows(text, i) || repeats(text, i)) && worth > GUESSED_TENTHS)
			worth = GUESSED_TENTHS;
		tenths += worth;
	}
	unsigned bits = tenths / 10, known = common_bits(text, length);
	wipe(text, sizeof text);
	return known && known < bits ? known : bits;
}

const char *strength_word(unsigned bits)
{
	return bits < 28 ? "very weak" : bits < 40 ? "weak" : bits < 56 ? "fair" : bits < 76 ? "good" : "strong";
}
