/* Between content.c and content_filters.c. */
#ifndef NODE_CORE_CONTENT_IMPL_H
#define NODE_CORE_CONTENT_IMPL_H

#include "node/core/content.h"

/* Asks the next filter that is for it; false: there is none, or it is answered already (`act` and `defer`). */
bool content_filter_ask(struct content *c);
/* What the one that was asked has said. */
void content_filter_answered(struct content *c);
/* Appends to what is told of it, with "; " between. */
void content_say(struct content *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The graver of what was found before and this. */
void content_found(struct content *c, enum content_outcome outcome);
/* It is refused, or deferred: nobody else is asked. */
bool content_settled(const struct content *c);

#endif
