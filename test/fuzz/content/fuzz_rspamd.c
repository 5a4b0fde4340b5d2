/* An answer of a server that calls itself rspamd: what is taken of it is bounded, and printable. */
#include "base/ensure.h"
#include "base/err.h"
#include "node/content/rspamd.h"

#include <math.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void printable(const char *text, size_t cap)
{
    ensure(memchr(text, '\0', cap) != NULL);
    for (; *text != '\0'; text++)
        ensure(*text >= ' ' && *text <= '~');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rspamd_answer a;
    int err = rspamd_answer_parse(span_of((const char *)data, size), &a);
    if (err != 0)
        return 0;
    printable(a.name, sizeof a.name);
    printable(a.symbols, sizeof a.symbols);
    printable(a.message, sizeof a.message);
    ensure(a.name[0] != '\0');
    ensure(a.action <= RSPAMD_OTHER);
    ensure(fabs(a.score) <= 99999 && fabs(a.required) <= 99999);
    return 0;
}
