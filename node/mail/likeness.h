/* How messages resemble each other: a signature of a message's text, of which much is equal in two messages
 * when much of their text is (consensus/facts.h compares them). What senders of unwanted mail vary is taken
 * out: tags of HTML, upper case, numbers, links, addresses, the name behind a greeting; quoted lines and what
 * stands below "-- " too, since everybody repeats those. Reads the message while it arrives, in fixed memory:
 * the first LIKENESS_WORDS words of its text parts, without their transfer encoding. Lenient: a guess, not a
 * parser. Pure.
 */
#ifndef NODE_MAIL_LIKENESS_H
#define NODE_MAIL_LIKENESS_H

#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

#define LIKENESS_VALUES 16
#define LIKENESS_WORDS 200
#define LIKENESS_LINE 1000
#define LIKENESS_BOUNDARIES 4

struct likeness {
    uint32_t least[LIKENESS_VALUES];
    uint32_t words;
    uint64_t before; /* the word before this one */
    /* the word */
    uint64_t hash;
    uint32_t length;
    bool digits, link, slash;
    uint8_t greeted; /* so many words to come are of a name */
    /* the part */
    bool in_header, top, in_type;
    uint8_t kind, encoding;
    uint32_t nboundaries;
    char boundary[LIKENESS_BOUNDARIES][72];
    /* the text */
    bool in_tag, over, line_start, quoted;
    uint32_t bits, nbits; /* base64 */
    /* the line */
    bool line_long; /* its beginning was taken already */
    uint32_t n;
    char line[LIKENESS_LINE];
};

void likeness_init(struct likeness *l);
/* The message, header first, in pieces of any size. */
void likeness_feed(struct likeness *l, struct span s);
/* False: there is no text to speak of. */
bool likeness_end(struct likeness *l, uint16_t out[LIKENESS_VALUES]);

#endif
