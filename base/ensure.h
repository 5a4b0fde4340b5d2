/* Assertions that stay on in release builds: a broken invariant of ours stops the process before it can
 * corrupt mail. Never for what a peer or the environment can cause.
 */
#ifndef BASE_ENSURE_H
#define BASE_ENSURE_H

_Noreturn void ensure_failed(const char *expr, const char *file, int line);

#define ensure(expr) ((expr) ? (void)0 : ensure_failed(#expr, __FILE__, __LINE__))

#endif
