/* Assertions: the line that is written before the process aborts. */
#include "base/ensure.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void ensure_failed(const char *expr, const char *file, int line)
{
    fprintf(stderr, "turnpike: broken invariant: %s (%s:%d)\n", expr, file, line);
    abort();
}
