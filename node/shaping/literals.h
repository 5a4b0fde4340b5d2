/* What a text must contain to match a pattern: one or two sets of short literals, of each of which at least
 * one is in every text that matches. Read from the pattern itself, carefully: whatever isn't understood gives
 * no answer. Pure.
 */
#ifndef NODE_SHAPING_LITERALS_H
#define NODE_SHAPING_LITERALS_H

#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

#define LITERAL_SETS 2
#define LITERALS_MAX 96      /* of one set */
#define LITERAL_BYTES_MAX 24 /* of one literal: a part of a longer one */
#define LITERAL_BYTES_MIN 3  /* shorter ones are in too many texts */

struct literals {
    uint32_t n; /* 0: nothing is known, every text may match */
    struct literal {
        uint8_t len;
        char text[LITERAL_BYTES_MAX]; /* ASCII letters in lower case */
    } v[LITERALS_MAX];
};

/* Of a PCRE2 pattern that compiles, matched on bytes and without regard to the case of ASCII letters. The
 * second set may be empty: there is nothing more to say. */
void literals_of(struct span pattern, struct literals out[LITERAL_SETS]);

#endif
