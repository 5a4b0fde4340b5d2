/* What the files of the rules share; for nobody else. */
#ifndef NODE_SHAPING_RULES_IMPL_H
#define NODE_SHAPING_RULES_IMPL_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include "node/shaping/rules.h"

#include <pcre2.h>

/* pattern.c. NULL: it is wrong, and `why` says how; or no memory. */
pcre2_code *shaping_match_compile(const char *pattern, char why[160]);
/* With the bounds on steps; NULL: no memory. */
pcre2_match_context *shaping_match_limits(void);
/* Does the pattern of codes (NULL: any) meet them? */
bool shaping_code_match(const char *pattern, unsigned code, const uint16_t enhanced[3]);

#endif
