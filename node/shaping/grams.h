/* Which rules could a text meet, by the literals that their patterns need: a table of three and four letters,
 * looked up at each place of the text. It may name a rule in vain; it never leaves one out. Immutable once
 * made. Pure.
 */
#ifndef NODE_SHAPING_GRAMS_H
#define NODE_SHAPING_GRAMS_H

#include "node/shaping/literals.h"

#include <stdint.h>

struct grams;

struct grams *grams_new(uint32_t nrules); /* NULL: no memory */
void grams_free(struct grams *g);
/* While it is made; a set without literals: every text has what it asks for. 0 or -ENOMEM. */
int grams_add(struct grams *g, uint32_t rule, const struct literals sets[LITERAL_SETS]);
/* Words of 64 rules each that grams_find fills: at most GRAMS_WORDS_MAX. */
#define GRAMS_WORDS_MAX 64
uint32_t grams_words(const struct grams *g);
void grams_find(const struct grams *g, struct span text, uint64_t *rules);

#endif
